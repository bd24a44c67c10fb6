//! `regseal doctor`: asks a registry what it can do, and says what regseal adds to it and what it cannot.
//!
//! Nothing but `GET` and `HEAD` is sent, unless a repository is named that may be written to; what is put there is taken
//! away again. One file for each group of questions; `advice` has the table of what follows.

mod advice;
mod capability;
mod deletion;
mod front;
mod manifests;
mod progress;
mod reading;
mod registry;
mod report;
mod scratch;
mod transport;
mod uploads;
mod visibility;

use std::io::{self, Write};
use std::time::Duration;

use aws_lc_rs::{digest as engine, rand};
use http::Uri;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use super::contact::Contact;
use super::docker::{self, DockerError};
use super::{StartError, translate, trust};
use crate::auth::Caller;
use crate::cli::{Doctor, Exit, OutputForm};
use crate::clock::SystemClock;
use crate::config::{self, Environment, Settings};
use crate::oci::name::InvalidName;
use crate::oci::{Digest, RepositoryName};
use crate::telemetry::HttpMetrics;
use crate::upstream::Upstream;

use advice::Advice;
use capability::Findings;
use front::Account;
use manifests::Image;
use progress::Progress;
use reading::Sample;
use registry::{Question, Registry, Silence, Who, Writable};
use report::Report;
use scratch::Scratch;

/// The longest that one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Said of what was not asked any more.
const INTERRUPTED: &str = "not asked: interrupted";

/// Why nothing could be found out.
#[derive(Debug, Error)]
pub enum DoctorError {
    /// `--repository` or `--scratch` is no name.
    #[error("{option} {name:?}: no name of a repository")]
    Name {
        /// The option.
        option: &'static str,
        /// What was typed.
        name: String,
        /// What is wrong.
        source: InvalidName,
    },
    /// The Docker configuration cannot be used.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Something that is configured cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The registry gave no answer.
    #[error("nothing could be found out. {0}")]
    Silent(String),
    /// Whatever is there is no registry.
    #[error("this is no registry: {0}")]
    NoRegistry(String),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The result cannot be written.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
}

impl DoctorError {
    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Name { .. } | Self::Docker(_) => Exit::Usage,
            Self::Start(error) => error.exit(),
            Self::Silent(_) | Self::NoRegistry(_) | Self::Randomness | Self::Output(_) => {
                Exit::Undecided
            }
        }
    }
}

impl From<Silence> for DoctorError {
    fn from(silence: Silence) -> Self {
        Self::Silent(silence.to_string())
    }
}

/// Examines the registry of `settings`. The service account is shown to it only if it is the one that is `configured`, or
/// if none is: what the configuration says of one registry is not for another. [`Exit::Undecided`] if the registry refuses the credential that was found.
///
/// # Errors
/// See [`DoctorError`].
pub async fn doctor(
    settings: &Settings,
    configured: Option<&config::Upstream>,
    environment: &Environment,
    options: &Doctor,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<Exit, DoctorError> {
    let repository = named("--repository", options.repository.as_deref())?;
    let scratch = named("--scratch", options.scratch.as_deref())?.map(Writable::named);
    let settings = narrowed(settings, configured, options);
    let url = settings
        .upstream
        .as_ref()
        .map(|registry| registry.url.clone());
    let url = url.ok_or(StartError::Upstream)?;
    let registry = connect(&settings, environment, &url)?;
    let nonce = nonce()?;
    let mut findings = Findings::default();
    let first = registry.read(Who::Nobody, Question::get("/v2/")).await?;
    if !front::is_registry(&first) {
        let line = first.first_line();
        let line = line.map_or_else(String::new, |line| format!(": {line:?}"));
        return Err(DoctorError::NoRegistry(format!("{first}{line}")));
    }
    let ca = settings
        .upstream
        .as_ref()
        .and_then(|registry| registry.ca.as_deref());
    transport::examine(&url, trust::roots(ca)?, PATIENCE, &mut findings).await;
    let front = front::examine(&registry, &first, &mut findings).await?;
    let mut visit = Visit {
        registry: &registry,
        findings: &mut findings,
        nonce,
    };
    let is_writing = scratch.is_some();
    // Where it stops answering on the way, what was found is worth reading.
    if let Err(silence) = visit.ask(&front, repository.as_ref(), scratch).await {
        let why = silence.to_string();
        findings.without_answers(&why);
        findings.without_image(&why);
        if is_writing {
            findings.without_scratch(&why);
        }
    }
    let report = Report {
        advice: Advice::on(&url, &front.authentication, &findings),
        url,
        front,
        findings,
    };
    match form {
        OutputForm::Json => writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&report).map_err(io::Error::from)?
        )?,
        OutputForm::Table => report.write(out)?,
    }
    Ok(match report.front.authentication.account {
        Account::Refused => Exit::Undecided,
        Account::None | Account::Accepted | Account::Withheld | Account::Unknown => Exit::Success,
    })
}

/// What is asked of a registry, in order.
struct Visit<'a> {
    registry: &'a Registry,
    findings: &'a mut Findings,
    nonce: String,
}

impl Visit<'_> {
    async fn ask(
        &mut self,
        front: &front::Front,
        repository: Option<&RepositoryName>,
        scratch: Option<Writable>,
    ) -> Result<(), Silence> {
        let registry = self.registry;
        let absent: Option<RepositoryName> = format!("regseal-doctor/{}", self.nonce).parse().ok();
        let scratch_name = scratch.as_ref().map(Writable::repository);
        if let Some(absent) = &absent {
            visibility::hides(registry, &front.authentication, absent, self.findings).await?;
        }
        let looked = match repository {
            Some(name) => Some(Sample::of(registry, name).await?),
            None if scratch.is_some() => None,
            None => Some(Sample::found(registry).await?),
        };
        let (mut sample, missing) = match looked {
            Some(Ok(sample)) => (Some(sample), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let read = sample.as_ref().map(|sample| sample.repository.clone());
        if let Some(name) = read
            .as_ref()
            .or(repository)
            .or(scratch_name)
            .or(absent.as_ref())
        {
            let is_named = repository == Some(name);
            visibility::referrers(registry, name, is_named, self.findings).await?;
            visibility::invalid_digest(registry, name, self.findings).await?;
        }
        if let Some(writable) = scratch {
            let mut scratch = Scratch::new(registry, writable, self.nonce.clone());
            let progress = Progress::shown();
            let written = tokio::select! {
                written = Box::pin(write(&mut scratch, &mut sample, self.findings, &progress)) => written,
                () = told_to_end() => {
                    self.findings.without_scratch(INTERRUPTED);
                    self.findings.without_image(INTERRUPTED);
                    Ok(())
                }
            };
            progress.at("deleting what was written");
            scratch.clean(self.findings).await;
            written?;
        } else if let Some(sample) = sample {
            sample.examine(registry, self.findings).await?;
        }
        if let Some(why) = missing {
            self.findings.without_image(&why);
        }
        Ok(())
    }
}

/// Waits for SIGINT or SIGTERM.
async fn told_to_end() {
    let mut terminate = signal(SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// What takes writing, and what is read of what was written.
async fn write(
    scratch: &mut Scratch<'_>,
    sample: &mut Option<Sample>,
    findings: &mut Findings,
    progress: &Progress,
) -> Result<(), Silence> {
    progress.at("trying uploads");
    if !uploads::sessions(scratch, findings).await? {
        return Ok(());
    }
    uploads::blobs(scratch, sample.as_ref(), findings).await?;
    progress.at("trying an image");
    let Some(image) = Image::push(scratch, findings).await? else {
        return Ok(());
    };
    if sample.is_none() {
        match Sample::of(scratch.registry, scratch.name()).await? {
            Ok(written) => *sample = Some(written),
            Err(why) => findings.without_image(&why),
        }
    }
    if let Some(sample) = sample {
        sample.examine(scratch.registry, findings).await?;
    }
    progress.at("trying kinds of manifests");
    image.kinds(scratch, findings).await?;
    image.names(scratch, findings).await?;
    image.subject(scratch, findings).await?;
    progress.at("trying deletion");
    deletion::examine(scratch, &image, findings).await?;
    progress.at("trying large manifests");
    image.limit(scratch, findings).await
}

fn named(option: &'static str, name: Option<&str>) -> Result<Option<RepositoryName>, DoctorError> {
    let Some(name) = name else { return Ok(None) };
    let parsed = name.parse().map_err(|source| DoctorError::Name {
        option,
        name: name.to_owned(),
        source,
    })?;
    Ok(Some(parsed))
}

/// The settings for one visit.
fn narrowed(
    settings: &Settings,
    configured: Option<&config::Upstream>,
    options: &Doctor,
) -> Settings {
    let mut settings = settings.clone();
    let first_byte = &mut settings.timeouts.upstream_first_byte;
    *first_byte = PATIENCE.min(*first_byte);
    if let Some(registry) = &mut settings.upstream {
        if configured.is_some_and(|configured| configured.url != registry.url) {
            registry.service_account = None;
        }
        if let Some(ca) = &options.ca {
            registry.ca = Some(ca.clone());
        }
    }
    settings
}

fn connect(
    settings: &Settings,
    environment: &Environment,
    url: &Uri,
) -> Result<Registry, DoctorError> {
    let host = url.authority().map(|host| host.as_str());
    let account = match docker::account(environment, host.unwrap_or_default())? {
        Some((username, password)) => Caller::own(Some((&username, &password))),
        None => translate::account(settings),
    };
    let registry = settings.upstream.as_ref().ok_or(StartError::Upstream)?;
    let metrics = HttpMetrics::new(&opentelemetry::global::meter("regseal"));
    let contact = Contact::new(std::sync::Arc::new(SystemClock));
    let room = translate::room(settings);
    let upstream =
        translate::upstream(settings, registry, &room, &metrics, &contact, &SystemClock)?;
    let realms = settings.auth.realms.clone();
    Ok(Registry::new(Upstream::new(upstream), account, realms))
}

fn nonce() -> Result<String, DoctorError> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).or(Err(DoctorError::Randomness))?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// The SHA-512 digest of bytes.
fn sha512(bytes: &[u8]) -> Digest {
    let hash = engine::digest(&engine::SHA512, bytes);
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let digest = format!("sha512:{hex}").parse();
    digest.expect("128 hexadecimal digits in lower case are a digest of this algorithm")
}
