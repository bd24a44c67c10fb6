//! The background task: a handshake each second, and at once when one is asked for. It ends with the index.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use super::handshake::Handshake;
use super::link::Link;
use super::session::Session;
use super::sweep;

/// Between handshakes while all is well, and at most while it is not.
const BEAT: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// A handshake is several round trips.
const TRIPS: u32 = 5;

/// A handshake, within a time.
pub(super) async fn shake(
    link_timeout: Duration,
    handshake: &mut Handshake,
    previous: Option<&Session>,
    known: &std::sync::atomic::AtomicU64,
    reload: bool,
) -> Result<Session, Failure> {
    let shaking = Box::pin(handshake.session(previous, known, reload));
    timeout(link_timeout * TRIPS, shaking).await?
}

pub(super) async fn tend(link: Arc<Link>, mut handshake: Handshake) {
    let mut sweeping = JoinSet::new();
    let mut answered = 0;
    let mut pause = if link.session().is_ok() {
        BEAT
    } else {
        FIRST_RETRY
    };
    loop {
        if let Ok(session) = link.session()
            && !session.swept
            && sweeping.is_empty()
        {
            sweeping.spawn(sweep::sweep(Arc::clone(&link), session));
        }
        tokio::select! {
            () = link.woken() => {}
            () = sleep(pause) => {}
            Some(_ended) = sweeping.join_next(), if !sweeping.is_empty() => continue,
        }
        let asked = link.asked();
        let previous = link.session().ok();
        let made = shake(
            link.timeout,
            &mut handshake,
            previous.as_deref(),
            &link.known,
            asked > answered,
        )
        .await;
        pause = match (&made, previous) {
            (Ok(_), _) => BEAT,
            (Err(_), Some(_)) => FIRST_RETRY,
            (Err(_), None) => (pause * 2).clamp(FIRST_RETRY, BEAT),
        };
        answered = asked;
        link.publish(asked, made.map(Arc::new).map_err(Arc::new));
    }
}
