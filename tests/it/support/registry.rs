//! The registry behind: a bare docker-registry 2.8.2 or distribution 3.1.1, without the Referrers API, or olareg, which
//! has it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::http::{Access, Endpoint};
use super::process::{Process, program};
use super::tls::{Authority, Pair};
use super::users::EVERYONE;
use super::{Auth, Http, TokenServer};

pub struct Registry {
    /// The way to the registry itself, past any proxy.
    pub endpoint: Endpoint,
    tokens: Option<TokenServer>,
    process: Process,
    _dir: TempDir,
}

/// What the programs of distribution differ in.
#[derive(Clone, Copy)]
struct Distribution {
    program: &'static str,
    /// What it says of manifests, beside the hosts of layers that are elsewhere.
    validation: &'static str,
}

const DISTRIBUTION_2: Distribution = Distribution {
    program: "docker-registry",
    validation: "",
};

/// Version 3 looks for the children of an index by their sha256 names alone, unless it is told not to look.
const DISTRIBUTION_3: Distribution = Distribution {
    program: "registry3",
    validation: ", indexes: {platforms: none}",
};

impl Registry {
    /// docker-registry 2.8.2.
    pub fn with(auth: Auth) -> Self {
        Self::of(DISTRIBUTION_2, auth)
    }

    /// distribution 3.1.1, open to everybody.
    pub fn distribution3() -> Self {
        Self::of(DISTRIBUTION_3, Auth::None)
    }

    fn of(distribution: Distribution, auth: Auth) -> Self {
        let dir = TempDir::with_prefix("registry-").unwrap();
        let tokens = (auth == Auth::Token).then(TokenServer::start);
        let section = match (auth, &tokens) {
            (Auth::Token, Some(tokens)) => {
                let bundle = dir.path().join("tokens.pem");
                std::fs::write(&bundle, tokens.certificate()).unwrap();
                format!(
                    "auth: {{token: {{realm: {:?}, service: {:?}, issuer: {:?}, rootcertbundle: {bundle:?}}}}}",
                    tokens.realm(),
                    TokenServer::SERVICE,
                    TokenServer::ISSUER,
                )
            }
            (Auth::Basic, _) => {
                let passwords = dir.path().join("htpasswd");
                let lines = EVERYONE.map(|user| format!("{}:{}\n", user.name, user.password_hash));
                std::fs::write(&passwords, lines.concat()).unwrap();
                format!("auth: {{htpasswd: {{realm: registry, path: {passwords:?}}}}}")
            }
            (Auth::None | Auth::Token, _) => String::new(),
        };
        // It cannot tell which port it was given, so one is chosen here, and may be taken meanwhile.
        let (authority, process) = (0..5)
            .find_map(|_| start_at(distribution, &free_address(), &section, &dir))
            .expect("the registry starts on one of five free ports");
        let access = match (auth, &tokens) {
            (Auth::Basic, _) => Access::Passwords,
            (Auth::Token, Some(tokens)) => Access::Tokens(tokens.issuer()),
            (Auth::None | Auth::Token, _) => Access::Open,
        };
        Self {
            endpoint: Endpoint { authority, access },
            tokens,
            process,
            _dir: dir,
        }
    }

    /// olareg, in memory, with the Referrers API and open to everybody.
    pub fn with_referrers_api() -> Self {
        let dir = TempDir::with_prefix("olareg-").unwrap();
        // As docker-registry, it cannot tell which port it was given.
        let (authority, process) = (0..5)
            .find_map(|_| start_olareg_at(free_address(), &dir))
            .expect("olareg starts on one of five free ports");
        Self {
            endpoint: Endpoint {
                authority,
                access: Access::Open,
            },
            tokens: None,
            process,
            _dir: dir,
        }
    }

    /// docker-registry that speaks TLS with `shown`, and only with clients that `clients` has signed, if that is given.
    pub fn with_tls(shown: &Pair, clients: Option<&Authority>) -> Self {
        let dir = TempDir::with_prefix("registry-").unwrap();
        let clients = clients.map(|authority| format!(", clientcas: [{:?}]", authority.file()));
        let tls = format!(
            "tls: {{certificate: {:?}, key: {:?}{}}}",
            shown.certificate,
            shown.key,
            clients.unwrap_or_default()
        );
        let (authority, process) = (0..5)
            .find_map(|_| {
                let address = free_address();
                let mut process = start(
                    DISTRIBUTION_2,
                    &config(DISTRIBUTION_2, &address, ("", &tls), &dir),
                    &dir,
                );
                let started = super::wait_for("docker-registry", || {
                    if process.try_wait().is_some() {
                        return Some(false);
                    }
                    process.log().contains("listening on").then_some(true)
                });
                started.then_some((address, process))
            })
            .expect("docker-registry starts on one of five free ports");
        Self {
            endpoint: Endpoint {
                authority,
                access: Access::Open,
            },
            tokens: None,
            process,
            _dir: dir,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.endpoint.authority)
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The token service that this registry trusts.
    #[track_caller]
    pub fn tokens(&self) -> &TokenServer {
        self.tokens
            .as_ref()
            .expect("the registry was started with Auth::Token")
    }
}

fn start_at(
    distribution: Distribution,
    address: &str,
    auth: &str,
    dir: &TempDir,
) -> Option<(String, Process)> {
    let mut process = start(
        distribution,
        &config(distribution, address, (auth, ""), dir),
        dir,
    );
    let http = Http::new(address);
    let started = super::wait_for(distribution.program, || {
        // Another process that took the port would answer too: ours has ended then.
        match (http.try_get("/v2/"), process.try_wait()) {
            (_, Some(_)) => Some(false),
            (Some(_), None) if process.log().contains("listening on") => Some(true),
            (_, None) => None,
        }
    });
    started.then(|| (address.to_owned(), process))
}

/// Writes a configuration; `auth` is a section, `tls` a part of one.
fn config(
    distribution: Distribution,
    address: &str,
    (auth, tls): (&str, &str),
    dir: &TempDir,
) -> PathBuf {
    let validation = distribution.validation;
    let config = dir.path().join("config.yaml");
    let root = dir.path().join("data");
    let tls = if tls.is_empty() {
        String::new()
    } else {
        format!(", {tls}")
    };
    let text = format!(
        r#"
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root:?}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}", secret: "the same for every start"{tls}}}
validation: {{manifests: {{urls: {{allow: ["^https?://"]}}{validation}}}}}
{auth}
"#
    );
    std::fs::write(&config, text).unwrap();
    config
}

fn start(distribution: Distribution, config: &Path, dir: &TempDir) -> Process {
    let mut command = Command::new(program(distribution.program));
    Process::start("registry", command.arg("serve").arg(config), dir)
}

fn start_olareg_at(address: String, dir: &TempDir) -> Option<(String, Process)> {
    let (host, port) = address.split_once(':').unwrap();
    let mut command = Command::new(program("olareg"));
    command
        .args(["serve", "--addr", host, "--port", port])
        .args(["--store-type", "mem", "--api-delete"])
        .current_dir(dir);
    let mut process = Process::start("olareg", &mut command, dir);
    let http = Http::new(&address);
    let started = super::wait_for("olareg", || match process.try_wait() {
        Some(_) => Some(false),
        None => http.try_get("/v2/").map(|_| true),
    });
    started.then_some((address, process))
}

pub(super) fn free_address() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}
