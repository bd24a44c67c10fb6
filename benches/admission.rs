//! A decision about a pull: remembered by this process, from the sealed row of another, and from the signature itself.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::metrics::noop::NoopMeterProvider;
use regseal::admission::{
    Admission, AdmissionError, AdmissionMetrics, Described, Elsewhere, PullAsked, PullDecision,
};
use regseal::clock::{Clock, SystemClock};
use regseal::oci::{Digest, Manifest, RepositoryName, media_type};
use regseal::policy::{Snapshot, Sources};
use regseal::sealing::{Sealer, SealingKey};
use regseal::store::blob::memory::MemoryBlobStore;
use regseal::store::index::memory::MemoryIndex;
use regseal::store::{NewManifest, SignatureStore, Source};
use serde_json::json;
use tokio::runtime::Runtime;
use x509_cert::der::pem::{LineEnding, encode_string};

const COSIGN: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

struct Nowhere;

impl Elsewhere for Nowhere {
    fn blob<'a>(
        &'a self,
        _: &'a Digest,
        _: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, AdmissionError>> {
        Box::pin(async { Ok(None) })
    }

    fn describe<'a>(
        &'a self,
        _: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Described>, AdmissionError>> {
        Box::pin(async { Ok(None) })
    }
}

/// A store with one signed image, and what is needed to decide about it.
struct World {
    store: Arc<SignatureStore>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    sealer: Arc<Sealer>,
    repository: RepositoryName,
    digest: Digest,
    manifest: Manifest,
    size: u64,
}

fn decide(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(world());
    let mut group = criterion.benchmark_group("pull");
    let ours = world.admission();
    group.bench_function("remembered", |bencher| {
        bencher.iter(|| runtime.block_on(world.allows(&ours)));
    });
    group.bench_function("from the sealed row", |bencher| {
        bencher.iter(|| {
            ours.changed(&world.repository);
            runtime.block_on(world.allows(&ours))
        });
    });
    group.bench_function("from the signature", |bencher| {
        bencher.iter(|| {
            let forgotten = world.store.put_verdicts(
                &world.repository,
                &world.digest,
                Bytes::from_static(b"forgotten"),
            );
            runtime.block_on(forgotten);
            runtime.block_on(world.allows(&world.admission()))
        });
    });
    group.finish();
}

impl World {
    fn admission(&self) -> Admission {
        Admission::new(
            Arc::clone(&self.store),
            Arc::clone(&self.snapshot),
            Arc::clone(&self.sealer),
            Arc::new(SystemClock),
            AdmissionMetrics::new(&NoopMeterProvider::new().meter("benchmark")),
        )
    }

    async fn allows(&self, admission: &Admission) {
        let asked = PullAsked {
            repository: &self.repository,
            tag: None,
            digest: &self.digest,
            manifest: Some(&self.manifest),
            size: self.size,
        };
        let pull = admission.pull(asked, &Nowhere).await.expect("a decision");
        assert_eq!(pull.decision, PullDecision::Allow);
    }
}

async fn world() -> World {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let blobs = Arc::new(MemoryBlobStore::new(Arc::clone(&clock)));
    let index = Arc::new(MemoryIndex::default());
    let store = Arc::new(SignatureStore::new(blobs, index, Arc::clone(&clock)));
    store.repair_journal().await.expect("an empty journal");
    store.complete_index(|_| {}).await.expect("an empty index");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let repository: RepositoryName = "prod/app".parse().expect("a name");
    let image = json!({
        "schemaVersion": 2,
        "mediaType": media_type::IMAGE_MANIFEST,
        "config": {"mediaType": media_type::IMAGE_CONFIG, "digest": Digest::sha256(b"{}").as_str(), "size": 2},
        "layers": [],
    })
    .to_string();
    let manifest = Manifest::parse(image.as_bytes(), "").expect("a manifest");
    let digest = Digest::sha256(image.as_bytes());
    sign(&store, &repository, &key, &digest).await;
    World {
        store,
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot(&key, &clock))),
        sealer: Arc::new(Sealer::new(vec![SealingKey::generate().expect("a key")])),
        repository,
        digest,
        manifest,
        size: image.len() as u64,
    }
}

fn snapshot(key: &EcdsaKeyPair, clock: &Arc<dyn Clock>) -> Snapshot {
    let directory = tempfile::tempdir().expect("a directory");
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().expect("a key");
    let pem = encode_string("PUBLIC KEY", LineEnding::LF, der.as_ref()).expect("PEM");
    std::fs::write(directory.path().join("a.pub"), pem).expect("a file");
    let policy_file = directory.path().join("policy.yaml");
    let text = "version: 1\nauthorities:\n  a: {cosign: {key: a.pub, transparency_log: ignored}}\nrules:\n  \
                - {name: r, repositories: ['prod/**'], require: a, on_unsigned_push: reject}\n";
    std::fs::write(&policy_file, text).expect("a file");
    let sources = Sources {
        policy_file,
        trust_directory: None,
        registry: None,
        now: clock.now(),
    };
    Snapshot::load(&sources).expect("a policy").0
}

/// A signature in cosign's older layout, as a referrer.
async fn sign(
    store: &SignatureStore,
    repository: &RepositoryName,
    key: &EcdsaKeyPair,
    subject: &Digest,
) {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": ""},
            "image": {"docker-manifest-digest": subject.as_str()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = Bytes::from(payload.to_string());
    let signature = key.sign(&SystemRandom::new(), &payload).expect("signs");
    for blob in [payload.clone(), Bytes::from_static(b"{}")] {
        let digest = Digest::sha256(&blob);
        let body = stream::once(async { Ok(blob) }).boxed();
        let put = store.put_blob(repository, &digest, body, 1 << 20);
        put.await.expect("a blob");
    }
    let bytes = json!({
        "schemaVersion": 2,
        "mediaType": media_type::IMAGE_MANIFEST,
        "artifactType": COSIGN,
        "config": {"mediaType": COSIGN, "digest": Digest::sha256(b"{}").as_str(), "size": 2},
        "layers": [{
            "mediaType": media_type::SIMPLE_SIGNING,
            "digest": Digest::sha256(&payload).as_str(),
            "size": payload.len(),
            "annotations": {
                "dev.cosignproject.cosign/signature": Base64::encode_string(signature.as_ref()),
            },
        }],
        "subject": {"mediaType": media_type::IMAGE_MANIFEST, "digest": subject.as_str(), "size": 1},
    });
    let bytes = Bytes::from(bytes.to_string());
    let manifest = Manifest::parse(&bytes, "").expect("a manifest");
    let new = NewManifest {
        bytes: bytes.clone(),
        digest: Digest::sha256(&bytes),
        manifest: &manifest,
    };
    let added = store.add_referrer(repository, subject, new, Source::Captured);
    added.await.expect("a referrer");
}

criterion_group!(benches, decide);
criterion_main!(benches);
