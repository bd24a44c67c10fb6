//! From connections to a session: who the servers are now, and which epoch that makes.
//!
//! The state names the servers that the epoch was begun on. Whoever finds other ones begins a new epoch, by comparing
//! and setting, so that all replicas come to the same. The scripts of an epoch are loaded before it begins; a server
//! without them has been started anew since, so that counts as another one too. Everything here goes over the very connections that the session
//! will use: if a server is started anew in between, the session is of no use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::try_join_all;

use super::failure::Failure;
use super::keys::Keys;
use super::scripts::{self, BEGIN_EPOCH, LARGEST, Script};
use super::server::Connector;
use super::session::{Node, Session, node_of};
use super::topology::{Finder, Master};

/// How often others may begin an epoch while we do.
const TRIES: usize = 8;

/// Makes sessions; one at a time.
#[derive(Debug)]
pub(super) struct Handshake {
    connector: Connector,
    finder: Finder,
    keys: Keys,
    number: u64,
    /// Whether it was said that keys are evicted.
    warned: bool,
}

/// What stands in the state.
#[derive(Debug, Default)]
pub(super) struct State {
    schema: Option<String>,
    pub(super) epoch: Option<u64>,
    /// As it is written.
    epoch_text: String,
    pub(super) complete: bool,
    servers: String,
    swept: Option<u64>,
}

impl Handshake {
    pub(super) fn new(connector: Connector, finder: Finder, keys: Keys) -> Self {
        Self {
            connector,
            finder,
            keys,
            number: 0,
            warned: false,
        }
    }

    /// Looks at all servers. `known` is the latest epoch that this process met anywhere; one that is older than it is
    /// not gone back to. Connections of `previous` are used again; `reload` looks in any case whether they have the scripts.
    pub(super) async fn session(
        &mut self,
        previous: Option<&Session>,
        known: &AtomicU64,
        reload: bool,
    ) -> Result<Session, Failure> {
        let masters = self.finder.masters(&self.connector, previous).await?;
        let looked = masters.iter().map(|master| self.look(master, previous));
        let mut nodes = try_join_all(looked).await?;
        let evicts = nodes.iter().any(|node| node.facts.evicts);
        if evicts && !self.warned {
            tracing::warn!(
                "Redis removes any key when its memory is full (maxmemory-policy allkeys-*), so the index never knows \
                 what is absent; use noeviction"
            );
        }
        self.warned = evicts;
        let state = self.agree(&mut nodes, known, reload).await?;
        let epoch = state.epoch.ok_or(Failure::Restless)?;
        known.fetch_max(epoch, Ordering::SeqCst);
        self.number += 1;
        Ok(Session {
            number: self.number,
            epoch,
            evicts,
            swept: state.swept == Some(epoch),
            nodes,
        })
    }

    async fn look(&self, master: &Master, previous: Option<&Session>) -> Result<Node, Failure> {
        let used = previous
            .into_iter()
            .flat_map(|session| &session.nodes)
            .find(|node| node.server == master.server);
        let (connection, scripts) = match used {
            Some(node) => (node.connection.clone(), node.scripts.clone()),
            None => {
                let login = self.finder.login();
                let connecting = self.connector.connect(&master.server, login);
                (Box::pin(connecting).await?, None)
            }
        };
        Ok(Node {
            server: master.server.clone(),
            facts: connection.facts().await?,
            connection,
            slots: master.slots.clone(),
            scripts,
        })
    }

    /// The state, after a new epoch was begun if there had to be one. Then the nodes have its scripts.
    async fn agree(
        &self,
        nodes: &mut [Node],
        known: &AtomicU64,
        reload: bool,
    ) -> Result<State, Failure> {
        let mut identities: Vec<String> = nodes
            .iter()
            .map(|node| node.facts.identity.clone())
            .collect();
        identities.sort_unstable();
        let servers = identities.join(",");
        let key = self.keys.state();
        for _ in 0..TRIES {
            let state = read_state(node_of(nodes, &key)?, &key).await?;
            let needed = &self.keys.schema;
            if let Some(found) = state.schema.clone().filter(|found| found != needed) {
                let needed = needed.clone();
                return Err(Failure::Schema { found, needed });
            }
            let known = known.load(Ordering::SeqCst);
            if let Some(epoch) = state.epoch
                && epoch >= known
                && state.servers == servers
                && try_join_all(nodes.iter().map(|node| has_scripts(node, epoch, reload)))
                    .await?
                    .into_iter()
                    .all(|has| has)
            {
                for node in nodes {
                    node.scripts = Some((epoch, scripts::names(epoch, node.facts.version)));
                }
                return Ok(state);
            }
            let after = state.epoch.unwrap_or(0).max(known);
            let node = node_of(nodes, &key)?;
            let next = node.facts.clock.micros.max(after + 1);
            if next >= LARGEST {
                return Err(Failure::Unreadable {
                    what: "an epoch that can be followed",
                });
            }
            try_join_all(nodes.iter().map(|other| load(other, next))).await?;
            if begin(node, &key, &state, next, &servers, needed).await? {
                tracing::info!(
                    epoch = next,
                    "the index in Redis was begun anew: it was cleared, or its servers are others or may have lost rows"
                );
            }
        }
        Err(Failure::Restless)
    }
}

/// Reads the state.
pub(super) async fn read_state(node: &Node, key: &str) -> Result<State, Failure> {
    let mut command = redis::cmd("HGETALL");
    command.arg(key);
    let fields: BTreeMap<String, String> = node.connection.query(&command).await?;
    let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok());
    Ok(State {
        schema: fields.get("schema").cloned(),
        epoch: number("epoch"),
        epoch_text: fields.get("epoch").cloned().unwrap_or_default(),
        complete: fields.get("complete").is_some_and(|flag| flag == "1"),
        servers: fields.get("servers").cloned().unwrap_or_default(),
        swept: number("swept"),
    })
}

/// `false` if another process was faster.
async fn begin(
    node: &Node,
    key: &str,
    seen: &State,
    next: u64,
    servers: &str,
    schema: &str,
) -> Result<bool, Failure> {
    let mut load = redis::cmd("SCRIPT");
    load.arg("LOAD").arg(BEGIN_EPOCH);
    let sha: String = node.connection.query(&load).await?;
    let mut command = redis::cmd("EVALSHA");
    command
        .arg(sha)
        .arg(1)
        .arg(key)
        .arg(&seen.epoch_text)
        .arg(next)
        .arg(servers)
        .arg(schema);
    let begun: u64 = node.connection.query(&command).await?;
    Ok(begun == 1)
}

/// Loads the scripts of an epoch that is not begun yet.
async fn load(node: &Node, epoch: u64) -> Result<(), Failure> {
    let mut commands = redis::pipe();
    for script in Script::ALL {
        let text = script.text(epoch, node.facts.version);
        commands.cmd("SCRIPT").arg("LOAD").arg(text);
    }
    let _shas: Vec<String> = node.connection.pipeline(&commands).await?;
    Ok(())
}

/// Whether the server has the scripts of an epoch; asks it only if it is not known from an earlier handshake. Every
/// server had them when the epoch began, so one without is not the one it was, whatever it says of itself.
async fn has_scripts(node: &Node, epoch: u64, ask: bool) -> Result<bool, Failure> {
    if !ask && matches!(&node.scripts, Some((loaded, _)) if *loaded == epoch) {
        return Ok(true);
    }
    let mut command = redis::cmd("SCRIPT");
    command.arg("EXISTS");
    for name in scripts::names(epoch, node.facts.version).iter() {
        command.arg(name);
    }
    let there: Vec<u8> = node.connection.query(&command).await?;
    Ok(there.iter().all(|flag| *flag == 1))
}
