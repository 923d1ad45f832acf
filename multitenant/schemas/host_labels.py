"""Labels of host names: which ones never name a tenant.

Whoever gets `wpad.saas.example` or `autodiscover.saas.example` is sent other people's proxy
settings and mail passwords by their machines; `login.saas.example` invites them to type theirs.
"""

import re

_RESERVED = (
    # What machines look for by themselves
    """
    autoconfig autodiscover discover enterpriseenrollment enterpriseregistration isatap lyncdiscover
    lyncdiscoverinternal mtasts openpgpkey sipinternal teredo wpad
    """
    # Mail, and what it is signed with
    """
    bimi bounce bounces dkim dmarc domainkey email exchange imap imaps mail mailer mailserver
    mailgw mailhost mta mx outlook owa pop pops postfix relay smtp smtps spf webmail
    """
    # Addresses of RFC 2142 and their like, to which certificates are issued
    """
    abuse administrator administrators hostmaster mailerdaemon noc noreply postmaster root security
    ssladmin ssladministrator sslwebmaster sysadmin usenet uucp webmaster
    """
    # Names, addresses, time, machines
    """
    any broadcasthost dhcp dns gateway gw host hostname ip ipv localdomain localhost local loopback
    nameserver ns ntp proxy resolver router server time whois
    """
    # Logging in
    """
    account accounts auth authenticate authentication authorize cas id identity idp kerberos
    ldap logout login mfa oauth oidc openid otp passkey password passwords passwd register reset
    saml secure session sessions signin signon signout signup sso token tokens verify
    """
    # The platform's own pages and interfaces
    """
    admin admins api app apps billing cloud console control cp cpanel dashboard docs
    documentation graphql grpc health healthcheck healthz help helpdesk internal intranet legal
    management manage metrics operator operators panel payment payments platform portal preview
    privacy private public readyz rest root rpc status statuspage support sys system tenant tenants
    terms webhook webhooks websocket whm ws wss www wwww
    """
    # Files and their delivery
    """
    asset assets backup backups cdn download downloads edge files ftp ftps images img media origin
    sftp static upload uploads
    """
    # Operations
    """
    ca certificate certificates certs ci crl dev development git gitlab grafana jenkins kibana
    logs monitor monitoring ocsp pki prod production prometheus proxy rdp registry remote sandbox
    sentry ssh ssl staging tls trace vault vpn
    """
    # Databases, telephony, and what programs write where a name is missing
    """
    cache database db jabber mongo mongodb redis rtc sip sips stun turn xmpp
    null undefined none nil
    """
)
RESERVED_LABELS = frozenset(_RESERVED.split())
"""As they are without hyphens and without a number at the end: `mtasts` is `mta-sts` as well, and
`ns` is `ns1`."""

_NUMBER_AT_THE_END = re.compile(r"\d+$")


def is_reserved(label: str) -> bool:
    """Whether the (lower-case) label is one that a platform, or the machines of its users, take for
    something else than a tenant."""
    plain = label.replace("-", "")
    return plain in RESERVED_LABELS or _NUMBER_AT_THE_END.sub("", plain) in RESERVED_LABELS


def is_encoded(label: str) -> bool:
    """Whether the label stands for another text, as `xn--…` does, which may look like any other
    one. RFC 5890 keeps all labels with hyphens in these places for such purposes."""
    return label[2:4] == "--"
