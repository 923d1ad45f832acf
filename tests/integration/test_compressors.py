"""No server that the platform starts takes zlib, through which its memory could be read."""

from tests.conftest import Client


def test_the_embedded_server_takes_every_compressor_but_zlib(mongo: Client) -> None:
    offered = ["zlib", "snappy", "zstd"]
    hello = mongo.admin.command({"hello": 1, "compression": offered})
    assert hello["compression"] == ["snappy", "zstd"]
    options = mongo.admin.command("getCmdLineOpts")["parsed"]
    assert options["net"]["compression"]["compressors"] == "snappy,zstd"
