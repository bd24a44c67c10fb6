//! Which servers are the masters, and of what.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use redis::{FromRedisValue, Value};

use super::config::{Config, Mode, Server};
use super::failure::Failure;
use super::keys::SLOTS;
use super::server::{Connection, Connector, Login};
use super::session::Session;

/// A master and the slots it has, as first and last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Master {
    pub(super) server: Server,
    pub(super) slots: Vec<(u16, u16)>,
}

/// Finds the masters.
#[derive(Debug)]
pub(super) struct Finder {
    config: Config,
    /// Kept from one question to the next.
    sentinels: BTreeMap<Server, Connection>,
}

impl Finder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            sentinels: BTreeMap::new(),
        }
    }

    /// Who the servers are told we are.
    pub(super) fn login(&self) -> Login<'_> {
        Login {
            username: self.config.username.as_deref(),
            password: self.config.password.as_ref(),
            database: self.config.database,
        }
    }

    /// The masters as they are known now; together they have all slots.
    pub(super) async fn masters(
        &mut self,
        connector: &Connector,
        previous: Option<&Session>,
    ) -> Result<Vec<Master>, Failure> {
        let alone = |server: Server| {
            vec![Master {
                server,
                slots: vec![(0, SLOTS - 1)],
            }]
        };
        match self.config.mode.clone() {
            Mode::Single => {
                let server = self.config.servers.first().ok_or(Failure::NoMaster)?;
                Ok(alone(server.clone()))
            }
            Mode::Sentinel {
                service,
                username,
                password,
            } => {
                let login = Login {
                    username: username.as_deref(),
                    password: password.as_ref(),
                    database: 0,
                };
                self.by_sentinels(connector, &service, login)
                    .await
                    .map(alone)
            }
            Mode::Cluster => self.by_cluster(connector, previous).await,
        }
    }

    /// Asks all sentinels: the one that knows of the latest fail-over is right.
    async fn by_sentinels(
        &mut self,
        connector: &Connector,
        service: &str,
        login: Login<'_>,
    ) -> Result<Server, Failure> {
        let asked = self.config.servers.iter().map(|sentinel| {
            let kept = self.sentinels.get(sentinel).cloned();
            async move {
                let connection = match kept {
                    Some(connection) => connection,
                    None => connector.connect(sentinel, login).await?,
                };
                let mut command = redis::cmd("SENTINEL");
                command.arg("MASTER").arg(service);
                let master: BTreeMap<String, String> = connection.query(&command).await?;
                Ok::<_, Failure>((connection, master))
            }
        });
        let answers = join_all(asked).await;
        // Fewer may all be on the side of a master that has been replaced.
        let is_majority =
            2 * answers.iter().filter(|answer| answer.is_ok()).count() > answers.len();
        let mut best: Option<(u64, Server)> = None;
        let mut failure = Failure::NoMaster;
        for (sentinel, answer) in self.config.servers.iter().zip(answers) {
            match answer {
                Ok((connection, master)) => {
                    self.sentinels.insert(sentinel.clone(), connection);
                    let (epoch, server) = read_master(&master)?;
                    if best.as_ref().is_none_or(|(latest, _)| epoch > *latest) {
                        best = Some((epoch, server));
                    }
                }
                Err(error) => {
                    self.sentinels.remove(sentinel);
                    failure = error;
                }
            }
        }
        best.filter(|_| is_majority)
            .map(|(_, server)| server)
            .ok_or(failure)
    }

    /// Asks a node that is in use, else the seeds, until one answers.
    async fn by_cluster(
        &self,
        connector: &Connector,
        previous: Option<&Session>,
    ) -> Result<Vec<Master>, Failure> {
        let mut failure = Failure::NoMaster;
        let used = previous.into_iter().flat_map(|session| &session.nodes);
        for node in used {
            match slots(&node.connection, &node.server).await {
                Ok(masters) => return Ok(masters),
                Err(error) => failure = error,
            }
        }
        for seed in &self.config.servers {
            let asked = async {
                let connection = connector.connect(seed, self.login()).await?;
                slots(&connection, seed).await
            };
            match asked.await {
                Ok(masters) => return Ok(masters),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn read_master(master: &BTreeMap<String, String>) -> Result<(u64, Server), Failure> {
    let unreadable = || Failure::Unreadable {
        what: "which server is the master",
    };
    let number = |name: &str| master.get(name).and_then(|text| text.parse::<u64>().ok());
    let port = number("port").and_then(|port| u16::try_from(port).ok());
    let server = Server {
        host: master.get("ip").ok_or_else(unreadable)?.clone(),
        port: port.ok_or_else(unreadable)?,
    };
    Ok((number("config-epoch").unwrap_or(0), server))
}

async fn slots(connection: &Connection, asked: &Server) -> Result<Vec<Master>, Failure> {
    let ranges: Vec<Vec<Value>> = connection.query(redis::cmd("CLUSTER").arg("SLOTS")).await?;
    let mut masters: BTreeMap<Server, Vec<(u16, u16)>> = BTreeMap::new();
    for range in &ranges {
        let (server, slots) = read_range(range, asked).ok_or(Failure::Unreadable {
            what: "which node has which slots",
        })?;
        masters.entry(server).or_default().push(slots);
    }
    let mut all: Vec<(u16, u16)> = masters.values().flatten().copied().collect();
    all.sort_unstable();
    let mut next = 0;
    for (first, last) in all {
        if first > next {
            break;
        }
        next = last + 1;
    }
    if next < SLOTS {
        return Err(Failure::NoSlot { slot: next });
    }
    Ok(masters
        .into_iter()
        .map(|(server, slots)| Master { server, slots })
        .collect())
}

/// One range of `CLUSTER SLOTS`: first, last, the master, its replicas.
fn read_range(range: &[Value], asked: &Server) -> Option<(Server, (u16, u16))> {
    let [first, last, Value::Array(master), ..] = range else {
        return None;
    };
    let [host, port, ..] = master.as_slice() else {
        return None;
    };
    let host: Option<String> = Option::from_redis_value_ref(host).ok()?;
    // A node that does not know its own address means the one it was asked at.
    let host = host.filter(|host| !host.is_empty() && host != "?");
    let server = Server {
        host: host.unwrap_or_else(|| asked.host.clone()),
        port: u16::from_redis_value_ref(port).ok()?,
    };
    let first = u16::from_redis_value_ref(first).ok()?;
    let last = u16::from_redis_value_ref(last)
        .ok()
        .filter(|last| *last < SLOTS)?;
    Some((server, (first, last)))
}
