//! The ways in which Redis, the object store, the registry and the replicas themselves fail; each is begun and ended, and
//! the ledger is told of both.

use std::time::Duration;

use super::Replicas;
use super::load::ledger::{Ledger, Part};
use super::proxy::{Mode, TcpProxy};

/// Something that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The way of one replica, or of all, to a peer.
    Way(Peer, Whose, Mode),
    /// The process of Redis or of the object store neither answers nor ends.
    Paused(Peer),
    /// The process is gone; it comes back with what it has on disk: Redis with nothing, the object store with all.
    Killed(Peer),
    /// Redis comes back with what it had when [`Replicas::keep_dump`] was called, and says nothing of it.
    OldDump,
    /// Redis forgets everything at once.
    Flushed,
    /// A replica is gone, and comes back.
    ReplicaKilled(usize),
    /// A replica is ended, and comes back.
    ReplicaRestarted(usize),
    /// A replica stands still, and goes on where it was.
    ReplicaPaused(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Redis,
    S3,
    Registry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    All,
    One(usize),
}

/// What a fault takes for itself while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Way(Peer, usize),
    Process(Peer),
    Replica(usize),
}

impl Fault {
    /// The kind, without the replica it concerns.
    pub fn kind(&self) -> String {
        match self {
            Self::Way(peer, _, mode) => {
                let mode = match mode {
                    Mode::Pass => "reset",
                    Mode::Refuse => "refused",
                    Mode::BlackHole => "black hole",
                    Mode::Delay(_) => "slow",
                    Mode::CutAfter(_) => "answers lost",
                };
                format!("{peer:?} {mode}")
            }
            Self::Paused(peer) => format!("{peer:?} paused"),
            Self::Killed(peer) => format!("{peer:?} killed"),
            Self::OldDump => "Redis from an old dump".to_owned(),
            Self::Flushed => "Redis flushed".to_owned(),
            Self::ReplicaKilled(_) => "replica killed".to_owned(),
            Self::ReplicaRestarted(_) => "replica restarted".to_owned(),
            Self::ReplicaPaused(_) => "replica paused".to_owned(),
        }
    }

    pub fn begin(&self, replicas: &mut Replicas, ledger: &Ledger) {
        if let Some((part, whose)) = self.disturbs() {
            ledger.disturbed(part, whose.of(replicas));
        }
        match *self {
            Self::Way(peer, whose, mode) => {
                for way in ways(replicas, peer, whose) {
                    if mode == Mode::Pass {
                        way.cut();
                    }
                    way.set(mode);
                }
            }
            Self::Paused(Peer::Redis) => replicas.redis().single().stop(),
            Self::Paused(_) => replicas.s3().stop(),
            Self::Killed(Peer::Redis) | Self::OldDump => replicas.redis().single().kill(),
            Self::Killed(_) => replicas.s3().kill(),
            Self::Flushed => replicas.redis().single().flush(),
            Self::ReplicaKilled(number) => replicas.all[number].regseal.kill(),
            Self::ReplicaRestarted(number) => replicas.all[number].regseal.ask_to_end(),
            Self::ReplicaPaused(number) => replicas.all[number].regseal.signal("STOP"),
        }
    }

    pub fn end(&self, replicas: &mut Replicas, ledger: &Ledger) {
        match *self {
            Self::Way(peer, whose, _) => {
                for way in ways(replicas, peer, whose) {
                    way.set(Mode::Pass);
                }
            }
            Self::Paused(Peer::Redis) => replicas.redis().single().resume(),
            Self::Paused(_) => replicas.s3().resume(),
            Self::Killed(Peer::Redis) => replicas.redis().single().put_back(&replicas.dumps.empty),
            Self::Killed(_) => replicas.s3().start_again(),
            Self::OldDump => replicas.redis().single().put_back(&replicas.dumps.old),
            Self::Flushed => {}
            Self::ReplicaKilled(number) => replicas.all[number].regseal.start_again(),
            Self::ReplicaRestarted(number) => {
                let replica = &mut replicas.all[number].regseal;
                replica.ends_well();
                replica.start_again();
            }
            Self::ReplicaPaused(number) => replicas.all[number].regseal.signal("CONT"),
        }
        if let Some((part, whose)) = self.disturbs() {
            ledger.healed(part, whose.of(replicas));
        }
    }

    /// Whether both can be there at once.
    pub fn goes_with(&self, other: &Self, replicas: &Replicas) -> bool {
        let others = other.takes(replicas);
        self.takes(replicas)
            .iter()
            .all(|resource| !others.contains(resource))
    }

    /// Whether Redis itself is not there meanwhile.
    pub fn concerns_redis(&self) -> bool {
        matches!(
            self,
            Self::Paused(Peer::Redis) | Self::Killed(Peer::Redis) | Self::OldDump
        )
    }

    fn takes(&self, replicas: &Replicas) -> Vec<Resource> {
        match *self {
            Self::Way(peer, whose, _) => whose
                .of(replicas)
                .map(|number| Resource::Way(peer, number))
                .collect(),
            Self::Paused(peer) | Self::Killed(peer) => vec![Resource::Process(peer)],
            Self::OldDump | Self::Flushed => vec![Resource::Process(Peer::Redis)],
            Self::ReplicaKilled(number)
            | Self::ReplicaRestarted(number)
            | Self::ReplicaPaused(number) => vec![Resource::Replica(number)],
        }
    }

    /// What is not well meanwhile, and for whom.
    fn disturbs(&self) -> Option<(Part, Whose)> {
        Some(match *self {
            Self::Way(peer, whose, _) => (peer.part(), whose),
            Self::Paused(peer) | Self::Killed(peer) => (peer.part(), Whose::All),
            Self::OldDump => (Part::Redis, Whose::All),
            // Who writes and reads is cut off from nothing.
            Self::Flushed => return None,
            Self::ReplicaKilled(number)
            | Self::ReplicaRestarted(number)
            | Self::ReplicaPaused(number) => (Part::Process, Whose::One(number)),
        })
    }
}

impl Peer {
    fn part(self) -> Part {
        match self {
            Self::Redis => Part::Redis,
            Self::S3 => Part::S3,
            Self::Registry => Part::Upstream,
        }
    }
}

impl Whose {
    fn of(self, replicas: &Replicas) -> std::ops::Range<usize> {
        match self {
            Self::All => 0..replicas.count(),
            Self::One(number) => number..number + 1,
        }
    }
}

fn ways(replicas: &Replicas, peer: Peer, whose: Whose) -> impl Iterator<Item = &TcpProxy> {
    replicas.all[whose.of(replicas)]
        .iter()
        .map(move |replica| match peer {
            Peer::Redis => replica.redis.as_ref().expect("Redis is a single server"),
            Peer::S3 => &replica.s3,
            Peer::Registry => &replica.upstream,
        })
}

/// One of all the faults there are, for one replica or for all.
pub fn any(chance: &mut super::chance::Chance, replicas: usize) -> Fault {
    let one = chance.below(replicas);
    let whose = if chance.percent(60) {
        Whose::One(one)
    } else {
        Whose::All
    };
    let mode = match chance.below(5) {
        0 => Mode::Refuse,
        1 => Mode::BlackHole,
        2 => Mode::CutAfter(chance.below(400)),
        3 => Mode::Pass,
        _ => Mode::Delay(chance.between(Duration::from_millis(5), Duration::from_millis(300))),
    };
    match chance.below(20) {
        0..5 => Fault::Way(Peer::Redis, whose, mode),
        5..9 => Fault::Way(Peer::S3, whose, mode),
        9 => Fault::Way(Peer::Registry, whose, mode),
        10 => Fault::Paused(Peer::Redis),
        11 => Fault::Paused(Peer::S3),
        12 => Fault::Killed(Peer::Redis),
        13 => Fault::Killed(Peer::S3),
        14..16 => Fault::OldDump,
        16 => Fault::Flushed,
        17 => Fault::ReplicaKilled(one),
        18 => Fault::ReplicaRestarted(one),
        _ => Fault::ReplicaPaused(one),
    }
}
