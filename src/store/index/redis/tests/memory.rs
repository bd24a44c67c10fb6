//! What the rows take up in the memory of Redis.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{RedisIndex, open, single};
use crate::backends::redis::RedisServer;
use crate::clock::UnixMillis;
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::store::index::ReferrersIndex;
use crate::store::records::{Link, LinkKind, Referrer, Source};

const SUBJECTS: usize = 500;
const REFERRERS: usize = 2;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The most that a referrer may take, with its links and its part of everything else.
const LIMIT: f64 = 300.0;

fn repository(number: usize) -> RepositoryName {
    format!("team-{:02}/service-{number:04}", number % 40)
        .parse()
        .unwrap()
}

/// As notation makes one, of a chain with one certificate.
fn referrer(repository: &RepositoryName, subject: usize, number: usize) -> Referrer {
    let name = format!("{repository} {subject} {number}");
    let thumbprint = Digest::sha256(format!("certificate {}", number % 7).as_bytes());
    Referrer {
        repository: repository.clone(),
        subject: Digest::sha256(format!("{repository} {subject}").as_bytes()),
        descriptor: Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: Digest::sha256(name.as_bytes()),
            size: 725 + number as u64,
            artifact_type: Some("application/vnd.cncf.notary.signature".to_owned()),
            annotations: Some(BTreeMap::from([
                (
                    "io.cncf.notary.x509chain.thumbprint#S256".to_owned(),
                    format!(r#"["{}"]"#, thumbprint.encoded()),
                ),
                (
                    "org.opencontainers.image.created".to_owned(),
                    format!("2026-01-{:02}T03:04:{:02}Z", 1 + subject % 28, subject % 60),
                ),
            ])),
        },
        source: Source::Captured,
        time: UnixMillis::new(1_790_000_000_000 + (subject as u64) * 1_000_003),
    }
}

fn manifest_link(referrer: &Referrer) -> (Digest, Link) {
    let link = Link {
        kind: LinkKind::Manifest,
        media_type: referrer.descriptor.media_type.clone(),
        size: referrer.descriptor.size,
        subject: Some(referrer.subject.clone()),
    };
    (referrer.descriptor.digest.clone(), link)
}

fn blob_link(referrer: &Referrer) -> (Digest, Link) {
    let link = Link {
        kind: LinkKind::Blob,
        media_type: "application/jose+json".to_owned(),
        size: 2_134,
        subject: None,
    };
    let digest = Digest::sha256(referrer.descriptor.digest.as_str().as_bytes());
    (digest, link)
}

/// All referrers of the repositories, one part after the other.
async fn tell(index: &RedisIndex, repositories: usize, part: Part) {
    let rows = (0..repositories)
        .flat_map(|number| (0..SUBJECTS).map(move |subject| (repository(number), subject)));
    stream::iter(rows)
        .map(Ok)
        .try_for_each_concurrent(64, |(name, subject)| async move {
            for number in 0..REFERRERS {
                let row = referrer(&name, subject, number);
                match part {
                    Part::Subjects => index.put_referrer(&row).await?,
                    Part::ManifestLinks => {
                        index.put_links(&name, &[manifest_link(&row)]).await?;
                    }
                    Part::BlobLinks => index.put_links(&name, &[blob_link(&row)]).await?,
                }
            }
            Ok::<_, crate::store::index::IndexError>(())
        })
        .await
        .unwrap();
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Subjects,
    ManifestLinks,
    BlobLinks,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referrer_takes_less_than_300_bytes() {
    #[allow(
        clippy::disallowed_methods,
        reason = "asks for a longer test, not for a setting"
    )]
    let soaking = std::env::var("REGSEAL_SOAK").is_ok_and(|value| value == "1");
    let repositories = if soaking { 1000 } else { 20 };
    let count = repositories * SUBJECTS * REFERRERS;
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    let used = || redis.info("used_memory").parse::<f64>().unwrap();
    let mut before = used();
    let empty = before;
    for part in [Part::Subjects, Part::ManifestLinks, Part::BlobLinks] {
        tell(&index, repositories, part).await;
        let after = used();
        println!(
            "{part:?}: {:.1} bytes a referrer",
            (after - before) / count as f64
        );
        before = after;
    }
    let all = (used() - empty) / count as f64;
    println!("{count} referrers: {all:.1} bytes each");
    // Fewer have a larger part in the tables that grow by doubling.
    let limit = if soaking { LIMIT } else { LIMIT * 1.2 };
    assert!(all < limit, "{all}");
    // No bucket has grown out of the compact form.
    let script = "for _, key in ipairs(redis.call('KEYS', 'rx1:{team-00/*')) do \
           if string.find(key, '}:........l') then \
             assert(redis.call('OBJECT', 'ENCODING', key) == 'listpack') \
           end \
         end \
         return 'compact'";
    assert_eq!(redis.cli(&["EVAL", script, "0"]), "compact");
    let walked = index
        .rows()
        .try_fold(0_usize, |rows, _| async move { Ok(rows + 1) });
    assert_eq!(walked.await.unwrap(), 3 * count);
}
