// What both stories need.

declare const process: { argv: string[]; exit(code: number): never };

export const [url = "", email = "", password = "", name = ""] = process.argv.slice(2);
export const owner = { email: `owner@${name.toLowerCase()}.example`, password: "owner has a password" };

export function expectEqual<T>(actual: T, expected: T): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`expected ${JSON.stringify(expected)}, not ${JSON.stringify(actual)}`);
  }
}

// The value that an answer must have.
export function given<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error("there is no value");
  return value;
}
