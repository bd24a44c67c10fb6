//! Removing what earlier epochs left: nobody can reach it, but it takes up memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::keys::Key;
use super::link::Link;
use super::scripts::Script;
use super::session::{Reply, Session};
use crate::oci::RepositoryName;

/// Between two pages, so that the server has time for others.
const PAUSE: Duration = Duration::from_millis(5);
/// How long others leave it to the one who sweeps after it has shown itself last.
const LEASE: Duration = Duration::from_secs(30);
/// Between two looks whether another one who sweeps has come to an end.
const WAIT: Duration = Duration::from_secs(10);

/// Sweeps once, unless another process does. What fails is tried again at a later session.
pub(super) async fn sweep(link: Arc<Link>, session: Arc<Session>) {
    match Box::pin(all(&link, &session)).await {
        Ok(removed) if removed > 0 => {
            tracing::info!(removed, "removed keys of earlier epochs from Redis");
        }
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(%error, "keys of earlier epochs are still in Redis");
            sleep(WAIT).await;
        }
    }
}

async fn all(link: &Link, session: &Session) -> Result<u64, Failure> {
    let mut removed = 0;
    for node in &session.nodes {
        let mut cursor = 0;
        loop {
            if !lease(link, session).await? {
                sleep(WAIT).await;
                return Ok(removed);
            }
            let (next, keys) = session.scan(node, &link.keys, cursor).await?;
            let mut repositories: BTreeMap<RepositoryName, Vec<Vec<u8>>> = BTreeMap::new();
            for key in keys {
                let (repository, row) = match link.keys.parse(&key) {
                    Some(Key::Meta(repository)) => (repository, None),
                    Some(Key::Row(repository, row)) => (repository, Some(row)),
                    None => continue,
                };
                repositories.entry(repository).or_default().extend(row);
            }
            for (repository, rows) in repositories {
                let key = link.keys.meta(&repository);
                let deadline = Instant::now() + link.timeout;
                let reply = session.reply(Script::Sweep, &key, &rows, deadline).await?;
                if let Reply::Done(parts) = reply
                    && let Some(redis::Value::Int(count)) = parts.first()
                {
                    removed += u64::try_from(*count).unwrap_or(0);
                }
            }
            if next == 0 {
                break;
            }
            cursor = next;
            sleep(PAUSE).await;
        }
    }
    let epoch = session.epoch.to_string().into_bytes();
    let arguments = [epoch.clone(), b"swept".to_vec(), epoch];
    let deadline = Instant::now() + link.timeout;
    session
        .reply(Script::Note, &link.keys.state(), &arguments, deadline)
        .await?;
    Ok(removed)
}

async fn lease(link: &Link, session: &Session) -> Result<bool, Failure> {
    let arguments = [
        link.token.to_vec(),
        LEASE.as_millis().to_string().into_bytes(),
    ];
    let deadline = Instant::now() + link.timeout;
    let key = link.keys.sweep();
    let taken = session.reply(Script::Lease, &key, &arguments, deadline);
    Ok(matches!(taken.await?, Reply::Flag(true)))
}
