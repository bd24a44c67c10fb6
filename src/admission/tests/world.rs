//! A store in memory, a policy in a file, signers, and a registry that is a list of manifests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::metrics::noop::NoopMeterProvider;
use serde_json::{Value, json};
use x509_cert::der::pem::{LineEnding, encode_string};

use super::super::*;
use crate::clock::{ManualClock, UnixMillis};
use crate::oci::{Manifest, media_type};
use crate::policy::Sources;
use crate::sealing::SealingKey;
use crate::store::blob::memory::MemoryBlobStore;
use crate::store::index::ReferrersIndex;
use crate::store::index::memory::MemoryIndex;
use crate::store::{NewManifest, Source};
use crate::verification::evidence::COSIGN_SIGNATURE;

/// Somebody with a key pair.
pub(super) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(super) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        encode_string("PUBLIC KEY", LineEnding::LF, der.as_ref()).unwrap()
    }

    /// The manifest of a signature of `subject`, and its payload.
    fn sign(&self, subject: &Digest) -> (Value, Bytes) {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": ""},
                "image": {"docker-manifest-digest": subject.as_str()},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = Bytes::from(payload.to_string());
        let signature = self.0.sign(&SystemRandom::new(), &payload).unwrap();
        let config = Digest::sha256(b"{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::IMAGE_MANIFEST,
            "artifactType": COSIGN_SIGNATURE,
            "config": {"mediaType": COSIGN_SIGNATURE, "digest": config.as_str(), "size": 2},
            "layers": [{
                "mediaType": media_type::SIMPLE_SIGNING,
                "digest": Digest::sha256(&payload).as_str(),
                "size": payload.len(),
                "annotations": {
                    "dev.cosignproject.cosign/signature": Base64::encode_string(signature.as_ref()),
                },
            }],
            "subject": {
                "mediaType": media_type::IMAGE_MANIFEST,
                "digest": subject.as_str(),
                "size": 1,
            },
        });
        (manifest, payload)
    }
}

/// What the registry behind has.
#[derive(Default)]
pub(super) struct Behind {
    described: Mutex<BTreeMap<Digest, Described>>,
    pub(super) is_down: AtomicBool,
    pub(super) asked: AtomicUsize,
}

impl Elsewhere for Behind {
    fn blob<'a>(
        &'a self,
        _: &'a Digest,
        _: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, AdmissionError>> {
        Box::pin(async { self.answer().map(|()| None) })
    }

    fn describe<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Described>, AdmissionError>> {
        Box::pin(async {
            self.answer()?;
            Ok(self.described.lock().unwrap().get(digest).cloned())
        })
    }
}

impl Behind {
    fn answer(&self) -> Result<(), AdmissionError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(AdmissionError::Upstream("down".into()));
        }
        Ok(())
    }
}

/// An image or an index.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
    pub(super) size: u64,
}

/// Everything a decision needs.
pub(super) struct World {
    directory: tempfile::TempDir,
    pub(super) admission: Admission,
    pub(super) index: Arc<dyn ReferrersIndex>,
    pub(super) store: Arc<SignatureStore>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) behind: Behind,
    pub(super) signers: [Signer; 2],
    snapshot: Arc<ArcSwap<Snapshot>>,
    key: String,
}

pub(super) fn repository() -> RepositoryName {
    "prod/app".parse().unwrap()
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

impl World {
    /// With authorities `a` and `b`, and the rules of `rules`.
    pub(super) async fn new(rules: &str) -> Self {
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1_800_000_000_000)));
        let own: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let index: Arc<dyn ReferrersIndex> = Arc::new(MemoryIndex::default());
        let blobs = Arc::new(MemoryBlobStore::new(Arc::clone(&own)));
        let store = SignatureStore::new(blobs, Arc::clone(&index), Arc::clone(&own));
        let store = Arc::new(store);
        store.repair_journal().await.unwrap();
        store.complete_index(|_| {}).await.unwrap();
        let signers = [Signer::new(), Signer::new()];
        let directory = tempfile::tempdir().unwrap();
        for (signer, name) in signers.iter().zip(["a", "b"]) {
            std::fs::write(directory.path().join(format!("{name}.pub")), signer.pem()).unwrap();
        }
        let snapshot = Arc::new(ArcSwap::from_pointee(load(directory.path(), rules)));
        let key = SealingKey::generate().unwrap().to_text().to_string();
        let admission = admission(&store, &snapshot, &own, &key);
        Self {
            directory,
            admission,
            index,
            store,
            clock,
            behind: Behind::default(),
            signers,
            snapshot,
            key,
        }
    }

    /// Another process over the same stores, with the same keys and nothing in memory.
    pub(super) fn another(&self) -> Admission {
        let own: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        admission(&self.store, &self.snapshot, &own, &self.key)
    }

    pub(super) fn reload(&self, rules: &str) {
        self.snapshot
            .store(Arc::new(load(self.directory.path(), rules)));
    }

    /// An image that the registry has, with `name` in it.
    pub(super) fn image(&self, name: &str) -> Image {
        let config = Digest::sha256(name.as_bytes());
        self.push(&json!({
            "schemaVersion": 2,
            "mediaType": media_type::IMAGE_MANIFEST,
            "config": {"mediaType": media_type::IMAGE_CONFIG, "digest": config.as_str(), "size": 1},
            "layers": [],
        }))
    }

    pub(super) fn index_of(&self, children: &[&Image]) -> Image {
        let listed = children.iter().map(|child| {
            json!({
                "mediaType": media_type::IMAGE_MANIFEST,
                "digest": child.digest.as_str(),
                "size": child.size,
            })
        });
        self.push(&json!({
            "schemaVersion": 2,
            "mediaType": media_type::IMAGE_INDEX,
            "manifests": listed.collect::<Vec<_>>(),
        }))
    }

    /// A referrer of `subject` whose config has this type.
    pub(super) fn referrer(&self, subject: &Image, config: &str) -> Image {
        self.push(&json!({
            "schemaVersion": 2,
            "mediaType": media_type::IMAGE_MANIFEST,
            "config": {"mediaType": config, "digest": Digest::sha256(b"{}").as_str(), "size": 2},
            "layers": [],
            "subject": {
                "mediaType": media_type::IMAGE_MANIFEST,
                "digest": subject.digest.as_str(),
                "size": subject.size,
            },
        }))
    }

    fn push(&self, manifest: &Value) -> Image {
        let bytes = Bytes::from(manifest.to_string());
        let media_type = manifest["mediaType"].as_str().unwrap();
        let parsed = Manifest::parse(&bytes, media_type).unwrap();
        let size = u64::try_from(bytes.len()).unwrap();
        let digest = Digest::sha256(&bytes);
        let described = Described::of(&parsed, size);
        let mut all = self.behind.described.lock().unwrap();
        all.insert(digest.clone(), described);
        Image {
            digest,
            manifest: parsed,
            size,
        }
    }

    /// Signer `number` signs an image of `prod/app`.
    pub(super) async fn sign(&self, number: usize, subject: &Image) -> Digest {
        self.attach(&self.signers[number], &subject.digest, &subject.digest)
            .await
    }

    /// What `signer` has signed for `signed` is stored as a referrer of `subject`.
    pub(super) async fn attach(
        &self,
        signer: &Signer,
        signed: &Digest,
        subject: &Digest,
    ) -> Digest {
        let repository = repository();
        let (mut manifest, payload) = signer.sign(signed);
        manifest["subject"]["digest"] = json!(subject.as_str());
        for blob in [payload, Bytes::from_static(b"{}")] {
            let digest = Digest::sha256(&blob);
            let body = stream::once(async { Ok(blob) }).boxed();
            let put = self.store.put_blob(&repository, &digest, body, 1 << 20);
            put.await.unwrap();
        }
        let bytes = Bytes::from(manifest.to_string());
        let parsed = Manifest::parse(&bytes, media_type::IMAGE_MANIFEST).unwrap();
        let digest = Digest::sha256(&bytes);
        let new = NewManifest {
            bytes,
            digest: digest.clone(),
            manifest: &parsed,
        };
        self.store
            .add_referrer(&repository, subject, new, Source::Captured)
            .await
            .unwrap();
        self.admission.changed(&repository);
        digest
    }

    pub(super) async fn push_by(&self, tag_name: &str, image: &Image) -> String {
        let asked = PushAsked {
            repository: &repository(),
            tag: &tag(tag_name),
            digest: &image.digest,
            manifest: &image.manifest,
            size: image.size,
        };
        match self.admission.push(asked, true, &self.behind).await {
            Ok(push) => match push.decision {
                PushDecision::Admit => "admit".to_owned(),
                PushDecision::Allow(_) => "allow".to_owned(),
                PushDecision::Warn(_) => "warn".to_owned(),
                PushDecision::Mark(_) => "mark".to_owned(),
                PushDecision::Reject(unsigned, _) => {
                    format!("reject: {}", unsigned.missing.join(" "))
                }
            },
            Err(error) => format!("error: {error}"),
        }
    }

    pub(super) async fn pull_by(&self, tag_name: Option<&str>, image: &Image) -> String {
        self.pull_from(&self.admission, tag_name, image).await
    }

    pub(super) async fn pull_from(
        &self,
        admission: &Admission,
        tag_name: Option<&str>,
        image: &Image,
    ) -> String {
        let tag = tag_name.map(tag);
        let asked = PullAsked {
            repository: &repository(),
            tag: tag.as_ref(),
            digest: &image.digest,
            manifest: Some(&image.manifest),
            size: image.size,
        };
        match admission.pull(asked, &self.behind).await {
            Ok(pull) => match &pull.decision {
                PullDecision::Allow => "allow".to_owned(),
                PullDecision::Warn(_) => "warn".to_owned(),
                PullDecision::Deny(_) => "deny".to_owned(),
            },
            Err(error) => format!("error: {error}"),
        }
    }

    pub(super) async fn tagged(&self, image: &Image, name: &str) {
        let (admission, repository) = (&self.admission, repository());
        admission
            .note_tag(&repository, &image.digest, &tag(name))
            .await
            .unwrap();
        let children = Described::of(&image.manifest, image.size).children;
        admission
            .note_children(&repository, &image.digest, &children)
            .await
            .unwrap();
    }
}

fn admission(
    store: &Arc<SignatureStore>,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    clock: &Arc<dyn Clock>,
    key: &str,
) -> Admission {
    let meter = NoopMeterProvider::new().meter("tests");
    Admission::new(
        Arc::clone(store),
        Arc::clone(snapshot),
        Arc::new(Sealer::new(vec![SealingKey::parse(key).unwrap()])),
        Arc::clone(clock),
        AdmissionMetrics::new(&meter),
    )
}

fn load(directory: &std::path::Path, rules: &str) -> Snapshot {
    let policy_file: PathBuf = directory.join("policy.yaml");
    let text = format!(
        "version: 1\nauthorities:\n  a: {{cosign: {{key: a.pub, transparency_log: ignored}}}}\n  \
         b: {{cosign: {{key: b.pub, transparency_log: ignored}}}}\nrules:\n{rules}"
    );
    std::fs::write(&policy_file, text).unwrap();
    let sources = Sources {
        policy_file,
        trust_directory: None,
        registry: None,
        now: UnixMillis::new(1_800_000_000_000),
    };
    Snapshot::load(&sources).unwrap().0
}
