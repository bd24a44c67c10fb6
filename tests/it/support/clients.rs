//! The programs people use, each with a home of its own and logged in where the registry asks for it.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Access, Endpoint};
use super::process::program;
use super::{Auth, User};

/// A program, its settings, and the endpoint it talks to.
pub struct Tool {
    program: PathBuf,
    authority: String,
    /// Flags that stand before every command.
    flags_before: Vec<String>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    home: TempDir,
}

/// What a program did.
pub struct Output {
    command: String,
    status: std::process::ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Tool {
    pub fn new(name: &str, endpoint: &Endpoint) -> Self {
        let home = TempDir::with_prefix(format!("{name}-")).unwrap();
        Self {
            program: program(name),
            authority: endpoint.authority.clone(),
            flags_before: Vec::new(),
            flags: Vec::new(),
            environment: Vec::new(),
            home,
        }
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Flags that every command gets, after its own arguments.
    fn flags<const N: usize>(mut self, flags: [&str; N]) -> Self {
        self.flags = flags.map(ToOwned::to_owned).into();
        self
    }

    /// Without the flags that its commands get, for one that does not know them.
    pub fn bare(self) -> Self {
        self.flags([])
    }

    /// Runs the program's own login, which takes the endpoint as its last argument.
    #[track_caller]
    pub fn login<const N: usize>(self, arguments: [&str; N], authority: &str) -> Self {
        self.run(arguments.into_iter().chain([authority])).success();
        self
    }

    /// The folder in which the program runs, and which it takes for the home of its user.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file below the home, and returns its name there.
    pub fn file<'a>(&self, name: &'a str, content: impl AsRef<[u8]>) -> &'a str {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        name
    }

    /// What the program calls `rest`, such as `app:v1`, at the endpoint.
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.authority)
    }

    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        let mut command = Command::new(&self.program);
        command
            .args(&self.flags_before)
            .args(arguments)
            .args(&self.flags)
            .current_dir(self.home())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home())
            .env("DOCKER_CONFIG", self.home().join("docker"))
            .env("XDG_CONFIG_HOME", self.home().join(".config"))
            .env("XDG_RUNTIME_DIR", self.home().join("run"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        Output {
            command: format!("{command:?}"),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }
}

impl Output {
    /// All that a person sees.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.succeeded(), "{self:?}");
        self
    }

    /// Fails unless the program has failed with this in its output.
    #[track_caller]
    pub fn failure(self, message: &str) -> Self {
        assert!(!self.succeeded(), "{self:?}");
        self.says(message)
    }

    /// Fails unless this is in the output.
    #[track_caller]
    pub fn says(self, message: &str) -> Self {
        assert!(self.said().contains(message), "no {message:?} in {self:?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n--- {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command, self.status, self.stdout, self.stderr
        )
    }
}

pub fn crane(endpoint: &Endpoint, user: User) -> Tool {
    let tool = Tool::new("crane", endpoint).flags(["--insecure"]);
    match endpoint.access {
        Access::Open => tool,
        Access::Passwords | Access::Tokens(_) => tool.login(
            ["auth", "login", "-u", user.name, "-p", user.password],
            &endpoint.authority,
        ),
    }
}

pub fn oras(endpoint: &Endpoint, user: User) -> Tool {
    let tool = Tool::new("oras", endpoint).flags(["--plain-http"]);
    match endpoint.access {
        Access::Open => tool,
        Access::Passwords | Access::Tokens(_) => tool.login(
            ["login", "-u", user.name, "-p", user.password],
            &endpoint.authority,
        ),
    }
}

pub fn skopeo(endpoint: &Endpoint, user: User) -> Tool {
    let tool = Tool::new("skopeo", endpoint);
    let insecure = format!(
        "[[registry]]\nlocation = {:?}\ninsecure = true\n",
        endpoint.authority
    );
    tool.file(".config/containers/registries.conf", insecure);
    tool.file(
        ".config/containers/policy.json",
        r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    );
    let logins = tool.home().join("logins.json").display().to_string();
    let tool = tool.environment("REGISTRY_AUTH_FILE", &logins);
    match endpoint.access {
        Access::Open => tool,
        Access::Passwords | Access::Tokens(_) => tool.login(
            ["login", "-u", user.name, "-p", user.password],
            &endpoint.authority,
        ),
    }
}

pub fn regctl(endpoint: &Endpoint, user: User) -> Tool {
    let tool = Tool::new("regctl", endpoint).login(
        ["registry", "set", "--skip-check", "--tls", "disabled"],
        &endpoint.authority,
    );
    match endpoint.access {
        Access::Open => tool,
        Access::Passwords | Access::Tokens(_) => tool.login(
            ["registry", "login", "-u", user.name, "-p", user.password],
            &endpoint.authority,
        ),
    }
}

/// podman with storage of its own, and no system around it.
pub fn podman(endpoint: &Endpoint, user: User) -> Tool {
    let cgroups = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"];
    with_storage("podman", &cgroups, endpoint, user)
}

/// buildah with storage of its own, and no system around it.
pub fn buildah(endpoint: &Endpoint, user: User) -> Tool {
    with_storage("buildah", &[], endpoint, user).environment("BUILDAH_ISOLATION", "chroot")
}

fn with_storage(name: &str, flags: &[&str], endpoint: &Endpoint, user: User) -> Tool {
    let mut tool = Tool::new(name, endpoint);
    let path = |name: &str| tool.home().join(name).display().to_string();
    let (storage, run, logins) = (path("storage"), path("run"), path("logins.json"));
    let places = [
        "--root",
        &storage,
        "--runroot",
        &run,
        "--storage-driver",
        "vfs",
    ];
    let flags = places.iter().chain(flags).map(|flag| (*flag).to_owned());
    tool.flags_before = flags.collect();
    tool.file("logins.json", "{}");
    tool.file(
        ".config/containers/policy.json",
        r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    );
    let tool = tool.environment("REGISTRY_AUTH_FILE", &logins);
    match endpoint.access {
        Access::Open => tool,
        Access::Passwords | Access::Tokens(_) => tool.login(
            [
                "login",
                "--tls-verify=false",
                "-u",
                user.name,
                "-p",
                user.password,
            ],
            &endpoint.authority,
        ),
    }
}

/// helm 3, for charts.
pub fn helm(endpoint: &Endpoint, user: User) -> Tool {
    charts("helm", endpoint, user)
}

/// helm 4, for charts.
pub fn helm4(endpoint: &Endpoint, user: User) -> Tool {
    charts("helm4", endpoint, user)
}

fn charts(name: &str, endpoint: &Endpoint, user: User) -> Tool {
    let tool = Tool::new(name, endpoint);
    match endpoint.access {
        Access::Open => tool,
        Access::Passwords | Access::Tokens(_) => tool.login(
            [
                "registry",
                "login",
                "--plain-http",
                "-u",
                user.name,
                "-p",
                user.password,
            ],
            &endpoint.authority,
        ),
    }
}

/// notation with a test key `signer`, whose certificate it trusts in all repositories.
pub fn notation(endpoint: &Endpoint, user: User) -> Tool {
    let mut tool = Tool::new("notation", endpoint);
    tool.run(["cert", "generate-test", "--default", "signer"])
        .success();
    let policy = json!({"version": "1.0", "trustPolicies": [{
        "name": "tests",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:signer"],
        "trustedIdentities": ["*"],
    }]});
    tool.file(".config/notation/trustpolicy.json", policy.to_string());
    if endpoint.auth() != Auth::None {
        // Its login wants a credential helper.
        tool = tool
            .environment("NOTATION_USERNAME", user.name)
            .environment("NOTATION_PASSWORD", user.password);
    }
    tool.flags(["--insecure-registry"])
}

/// cosign 3, which writes bundles, with a key pair `cosign.key` and `cosign.pub` in its home.
pub fn cosign3(endpoint: &Endpoint, user: User) -> Tool {
    cosign("cosign3", endpoint, user)
}

/// cosign 2, which writes `.sig` tags, with a key pair `cosign.key` and `cosign.pub` in its home.
pub fn cosign2(endpoint: &Endpoint, user: User) -> Tool {
    cosign("cosign2", endpoint, user)
}

fn cosign(name: &str, endpoint: &Endpoint, user: User) -> Tool {
    let tool = Tool::new(name, endpoint).environment("COSIGN_PASSWORD", "");
    tool.run(["generate-key-pair"]).success();
    let tool = match endpoint.access {
        Access::Open => tool,
        Access::Passwords | Access::Tokens(_) => tool.login(
            ["login", "-u", user.name, "-p", user.password],
            &endpoint.authority,
        ),
    };
    tool.flags(["--allow-http-registry"])
}
