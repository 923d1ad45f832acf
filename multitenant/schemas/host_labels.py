"""Labels of host names: which ones never name a tenant.

Whoever gets `wpad.saas.example` or `autodiscover.saas.example` is sent other people's proxy
settings and mail passwords by their machines; `login.saas.example` invites them to type theirs.
"""

import re

_RESERVED = (
    # What machines look for by themselves
    """
    autoconfig autodiscover autologon caldav caldavs carddav carddavs certauth dav dialin
    discover enterpriseenrollment enterpriseregistration isatap kms lyncdiscover
    lyncdiscoverinternal lyncweb msoid mtasts openpgpkey sipexternal sipinternal teredo webdav
    wellknown wpad wsus
    """
    # Mail, and what it is signed with
    """
    activesync antispam bimi bounce bounces dkim dmarc domainkey email exchange exim horde imap
    imaps inbound lists listserv mail mailbox mailer mailfilter mailgate mailgateway mailgw
    mailhost mailhub mailin mailing mailman mailout mailrelay mails mailserver mailstore
    majordomo mta mx mxbackup newsletter outbound outlook owa pop popmail pops postfix
    postoffice relay roundcube sendmail sieve smtp smtpauth smtpin smtpmail smtpout smtprelay
    smtps spam spf squirrelmail submission unsubscribe webmail
    """
    # Addresses of RFC 2142 and their like, to which certificates are issued
    """
    abuse adm admin administration administrator administrators admins complaints contact
    contactus daemon devnull donotreply feedback hostmaster info listmaster mailerdaemon
    marketing news noc noreply postmaster privacy registrar root sales security ssladmin
    ssladministrator sslwebmaster superuser support sysadmin sysop usenet uucp webadmin
    webmaster
    """
    # Names, addresses, time, machines
    """
    allhosts allnodes allrouters any anycast arpa bind bogon broadcast broadcasthost ddns dhcp
    dns dnssec dnsserver doh dyndns firewall gateway gw haproxy host hosting hostname ingress
    intern internalhost invalid ip ip6allhosts ip6allnodes ip6allrouters ip6localhost ip6localnet
    ip6loopback ip6mcastprefix ipv lan lb loadbalancer local localdomain localhost localnet
    loopback mcastprefix metadata multicast nameserver nameservers nat ns ntp ntpd primary proxy
    rdap rdns resolver reverseproxy rootserver router secondary server servers snmp syslog time
    timeserver traefik unbound upstream wan whois wifi
    """
    # Logging in
    """
    2fa account accounts activate activation ad adfs auth authenticate authentication authenticator
    authn authorise authorize authz captcha cas confirm connect credential credentials directory
    fa fido forgot iam id identities identity idp jwks jwt kerberos keycloak krb ldap ldaps
    login logins logoff logon logout mfa myaccount oauth oidc onboarding openid otp passkey
    passkeys passreset passwd password passwordreset passwords profile radius recover recovery
    register registration reset resetpassword saml scim secure securelogin securesignin
    selfservice session sessions signin signon signout signup sso sts sudo tacacs tfa token
    tokens trust unlock user users validate validation verification verify webauthn
    """
    # The platform's own pages and interfaces
    """
    adminapi adminconsole admincp adminpanel adminportal api apidocs apigateway apis apiv app
    application applications apps appstore backend backoffice billing blog callback checkout
    cloud config configuration console control controlpanel corp cp cpanel cpcalendars
    cpcontacts customer customers dashboard default demo developer developers directadmin docs
    documentation example forum frontend gateways gql graph graphql graphs grpc guest health
    healthcheck healthz help helpcenter helpdesk hooks incident incidents internal intranet
    invoice invoices knowledgebase legal live livez m manage management manager me metrics
    mobile my myadmin official openapi operator operators ops panel payment payments pgadmin
    phpmyadmin ping platform plesk pma portal preview pricing priv private public readyz rest
    restapi rpc saas service servicedesk services setup shop site siteadmin sites staff status
    statuspage statusz store subscribe superadmin swagger sys sysadmins system systems tenant
    tenants terms upgrade uptime v w wap web webapi webapp webdisk webhook webhooks webmin
    website websites websocket websockets whm workspace ws wss www wwww
    """
    # Files and their delivery
    """
    archive archives artifacts asset assets attachments avatar avatars backup backups blob
    bucket cache caches cdn cdnassets content css data dist dl download downloads edge export
    file files font fonts ftp ftps icons image images img imgs js library media minio mirror
    mirrors nfs objects origin package packages releases repo repos repository s samba sftp
    share smb static staticassets statics storage thumbs tmp upload uploads usercontent video
    videos
    """
    # Operations
    """
    acmechallenge k8s alert alertmanager alerts analytics ansible argocd audit bastion build builds
    ca canary cd cert certificate certificates certs ci cluster consul container crl datadog
    debug dev devel development docker elastic elasticsearch etcd git gitea gitlab grafana
    jaeger jenkins jump jumphost kafka kibana ks kube kubernetes letsencrypt log logging loghost
    logs loki master monitor monitoring nagios nginx node nomad ocsp openvpn pki pkiops preprod
    prod production prometheus qa rabbitmq rdp rdweb registry release remote remoteaccess
    rollout sandbox sentry splunk ssh ssl sslvpn stage staging stats telemetry telnet terraform
    test testing tests tls trace traces tracing tracking uat vault vnc vpn wireguard worker
    workers zabbix zipkin
    """
    # Databases, telephony, and what programs write where a name is missing
    """
    anonymous asterisk chat conference couchdb database databases db dbadmin dbs false
    freeswitch influxdb jabber mariadb memcached mongo mongod mongodb mongoexpress mongos mssql
    mysql nan neo4j nil none null pbx postgres postgresql redis rtc sip sipdir sips sql stun
    stuns true turn turns undefined unknown voip webrtc xmpp
    """
)
RESERVED_LABELS = frozenset(_RESERVED.split())
"""As they are without hyphens and without a number at the end: `mtasts` is `mta-sts` as well, and
`ns` is `ns1`."""

_NUMBER_AT_THE_END = re.compile(r"\d+$")
_LETTERS_FOR_DIGITS = [str.maketrans("01345", letters) for letters in ("oieas", "oleas")]
"""Digits, and the letters that they are taken for."""


def is_reserved(label: str) -> bool:
    """Whether the (lower-case) label is one that a platform, or the machines of its users, take for
    something else than a tenant, or looks like one: `l0gin` does, and `mail-01`."""
    plain = label.replace("-", "")
    forms = {plain, _NUMBER_AT_THE_END.sub("", plain)}
    if not plain.isdigit():
        forms |= {it.translate(letters) for it in forms for letters in _LETTERS_FOR_DIGITS}
    return not forms.isdisjoint(RESERVED_LABELS)


def is_encoded(label: str) -> bool:
    """Whether the label stands for another text, as `xn--…` does, which may look like any other
    one. RFC 5890 keeps all labels with hyphens in these places for such purposes."""
    return label[2:4] == "--"
