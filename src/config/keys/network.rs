//! Keys of the listeners, and of the registry behind.

use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;

use super::Needed;
use crate::certificates;
use crate::config::kind::{
    Address, AuthoritiesFile, CertificateFile, Choice, Flag, Hosts, KeyFile, Name, Networks,
    SecretFile, Span, Url, Urls,
};
use crate::config::mistake::Problem;
use crate::config::section::Section;
use crate::config::settings::{
    Admin, Auth, ForeignUploads, KeyPair, Listen, Redirects, ServiceAccount, Tls, TokenRelay,
    Upstream,
};
use crate::config::written::Origin;

pub(super) fn listen(keys: &mut Section<'_>) -> Listen {
    let address = keys.value(
        "address",
        "The address and port of the registry that clients see.",
        &Address,
        SocketAddr::from(([0, 0, 0, 0], 8080)),
    );
    let public_url = keys.optional(
        "public_url",
        "The URL by which clients reach that address, for instance through a load balancer that ends TLS.",
        &Url::ORIGIN,
    );
    keys.later("signing", "A second data listener for those who sign.");
    Listen {
        address,
        public_url,
        tls: keys.alternative("tls", "TLS, and with it HTTP/2.", tls),
        proxy_protocol: keys.section(
            "proxy_protocol",
            "The PROXY protocol of load balancers.",
            |keys| {
                let about = "Networks of load balancers whose connections begin with a PROXY header, of version 1 or 2; each of theirs must.";
                keys.value("from", about, &Networks, Vec::new())
            },
        ),
        trusted_proxies: keys.value(
            "trusted_proxies",
            "Networks of proxies whose Forwarded and X-Forwarded-For, -Proto and -Host are believed.",
            &Networks,
            Vec::new(),
        ),
    }
}

fn tls(keys: &mut Section<'_>) -> Option<Tls> {
    let identity = key_pair(
        keys,
        (
            "certificate",
            "The PEM file with the certificate and those between it and its authority. Required.",
        ),
        (
            "key",
            "The PEM file with the key of that certificate. Required.",
        ),
        true,
    );
    let client_ca = keys.optional(
        "client_ca",
        "A PEM file with authorities: every client has to show a certificate that one of them has signed.",
        &AuthoritiesFile,
    );
    Some(Tls {
        identity: identity?,
        client_ca,
    })
}

/// A certificate and its key, which both have to be there if either is or `required`.
fn key_pair(
    keys: &mut Section<'_>,
    (certificate, about_certificate): (&'static str, &'static str),
    (key, about_key): (&'static str, &'static str),
    required: bool,
) -> Option<KeyPair> {
    let origin_of_key = keys.origin(key);
    let (chain, private) = if required || origin_of_key.is_some() {
        let chain = keys.required(certificate, about_certificate, &CertificateFile, None);
        (chain, keys.required(key, about_key, &KeyFile, None))
    } else if keys.origin(certificate).is_some() {
        let chain = keys.optional(certificate, about_certificate, &CertificateFile);
        (chain, keys.required(key, about_key, &KeyFile, None))
    } else {
        let chain = keys.optional(certificate, about_certificate, &CertificateFile);
        (chain, keys.optional(key, about_key, &KeyFile))
    };
    let ((certificate, chain), (private, secret)) = (chain?, private?);
    if let Err(source) = certificates::identity(chain, secret) {
        let path = private.clone();
        let origin = origin_of_key.unwrap_or(Origin::Default);
        keys.report(origin, key, Problem::Certificate { path, source });
    }
    Some(KeyPair {
        certificate,
        key: private,
    })
}

pub(super) fn admin(keys: &mut Section<'_>) -> Admin {
    let address = keys.value(
        "address",
        "The address and port of health and metrics, and of the admin API.",
        &Address,
        SocketAddr::from(([127, 0, 0, 1], 8081)),
    );
    let token = keys.optional(
        "token_file",
        "The file with the bearer token of the admin API. Without it there is no such API.",
        &SecretFile,
    );
    Admin {
        address,
        token: token.map(|(_, token)| token),
    }
}

/// The registry behind; there is none only if a mistake was reported or if it is not needed.
///
/// `knows_clients`: whether the listener lets nobody in without a certificate.
pub(super) fn upstream(
    keys: &mut Section<'_>,
    needed: Needed,
    knows_clients: bool,
) -> Option<Upstream> {
    let about =
        "The registry behind: http or https, host and perhaps port, no path. Required by serve.";
    let url = match needed {
        Needed::Upstream => keys.required("url", about, &Url::ORIGIN, Some("--upstream")),
        Needed::Stores => keys.optional("url", about, &Url::ORIGIN),
    };
    let ca = keys.optional(
        "ca",
        "A PEM file with certificate authorities to trust besides those of the system.",
        &AuthoritiesFile,
    );
    let hides_private_repositories = keys.value(
        "hides_private_repositories",
        "Whether the registry answers 404 for what a caller may not see. If unsure: true.",
        &Flag,
        true,
    );
    let foreign_uploads = keys.value(
        "foreign_uploads",
        "Where the registry sends uploads to another host or path: map, regseal goes there for the client; or relay, \
         the client goes there itself.",
        &Choice(&[
            ("map", Some(ForeignUploads::Map)),
            ("relay", Some(ForeignUploads::Relay)),
        ]),
        ForeignUploads::Map,
    );
    let redirects = keys.value(
        "redirects",
        "Where the registry redirects reads of blobs and manifests: relay, the client goes there itself; or follow, \
         regseal does.",
        &Choice(&[
            ("relay", Some(Redirects::Relay)),
            ("follow", Some(Redirects::Follow)),
        ]),
        Redirects::Relay,
    );
    let namespaces = keys.value(
        "namespaces",
        "Hosts by which clients that use regseal as a mirror know the registry, beside its own.",
        &Hosts,
        Vec::new(),
    );
    let mend_tag_delete = keys.value(
        "mend_tag_delete",
        "Whether a tag that the registry cannot delete is deleted by putting a placeholder there and deleting that.",
        &Flag,
        true,
    );
    let origin = keys.origin("client_certificate");
    let client = key_pair(
        keys,
        (
            "client_certificate",
            "The PEM file with the certificate regseal shows to the registry.",
        ),
        (
            "client_key",
            "The PEM file with the key of that certificate.",
        ),
        false,
    );
    let trusts_proxy = keys.value(
        "trusts_proxy",
        "acknowledged: it is known that the registry lets regseal in, by its certificate or address, and so whoever reaches regseal.",
        &Choice(&[("no", Some(false)), ("acknowledged", Some(true))]),
        false,
    );
    if let Some(origin) = origin {
        let is_tls = url.as_ref().and_then(Uri::scheme_str) != Some("http");
        let name = "client_certificate";
        if !is_tls {
            keys.report(origin, name, Problem::OnlyIf("an https upstream.url"));
        } else if !knows_clients && !trusts_proxy {
            let what = "listen.tls.client_ca, or upstream.trusts_proxy: acknowledged: the registry then decides about regseal, and not about who asks it";
            keys.report(origin, name, Problem::Needs(what));
        }
    }
    let service_account = keys.alternative(
        "service_account",
        "The credentials of work that no caller asked for.",
        account,
    );
    Some(Upstream {
        url: url?,
        ca,
        client,
        hides_private_repositories,
        mend_tag_delete,
        foreign_uploads,
        redirects,
        namespaces,
        service_account,
    })
}

fn account(keys: &mut Section<'_>) -> Option<ServiceAccount> {
    let origin = keys.origin("username");
    let is_written = keys.first_written(&["password", "password_file"]).is_some();
    let username = keys.required("username", "The user. Required.", &Name, None);
    let password = keys.secret(
        ("password", "The password."),
        ("password_file", "The file with the password."),
    );
    if let (Some(origin), false) = (origin, is_written) {
        keys.report(
            origin,
            "username",
            Problem::Needs("a password or password_file for the user it names"),
        );
    }
    Some(ServiceAccount {
        username: username?,
        password: password?,
    })
}

pub(super) fn auth(keys: &mut Section<'_>) -> Auth {
    Auth {
        token_relay: keys.value(
            "token_relay",
            "Whether challenges name regseal's own token service where a rule of the policy rejects: auto, or off.",
            &Choice(&[
                ("auto", Some(TokenRelay::Auto)),
                ("off", Some(TokenRelay::Off)),
            ]),
            TokenRelay::Auto,
        ),
        realms: keys.value(
            "realms",
            "The token services that a challenge of the registry may name beside that of its own host.",
            &Urls,
            Vec::new(),
        ),
        cache_ttl: keys.value(
            "cache_ttl",
            "How long a positive decision of the registry is believed; at most 60s, 0s asks each time.",
            &Span(Duration::ZERO..=Duration::from_secs(60)),
            Duration::from_secs(30),
        ),
    }
}
