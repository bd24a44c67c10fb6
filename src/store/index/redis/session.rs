//! The connections to all masters, with the epoch that was agreed on over them.

use std::sync::Arc;

use redis::Value;
use tokio::time::Instant;

use super::config::Server;
use super::failure::Failure;
use super::keys::{self, Keys};
use super::scripts::{LARGEST, Script};
use super::server::{Connection, Facts};

/// What a handshake made. Replaced by the next one; never changed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// Whether keys are removed when memory is full: then nothing is ever complete.
    pub(super) evicts: bool,
    /// Whether what earlier epochs left was removed.
    pub(super) swept: bool,
    pub(super) nodes: Vec<Node>,
}

/// A master.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) server: Server,
    pub(super) connection: Connection,
    pub(super) facts: Facts,
    pub(super) slots: Vec<(u16, u16)>,
    /// The SHAs of the scripts of `epoch`, if they are loaded.
    pub(super) scripts: Option<(u64, Arc<[String]>)>,
}

/// What a script answers.
#[derive(Debug)]
pub(super) enum Reply {
    Done(Vec<Value>),
    /// The repository has no rows of this epoch.
    Unknown,
    /// What a script says that is on no repository.
    Flag(bool),
    /// The repository belongs to a later epoch.
    Moved(u64),
}

impl Session {
    /// The master of a key.
    pub(super) fn node_of(&self, key: &str) -> Result<&Node, Failure> {
        node_of(&self.nodes, key)
    }

    /// Runs a script that refuses after `deadline` on the master of `key`.
    pub(super) async fn evaluate(
        &self,
        script: Script,
        key: &str,
        arguments: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let node = self.node_of(key)?;
        let sha = node
            .scripts
            .as_ref()
            .and_then(|(_, loaded)| loaded.get(script as usize))
            .ok_or(Failure::Unreadable {
                what: "the name of a script",
            })?;
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(sha)
            .arg(1)
            .arg(key)
            .arg(node.facts.clock.at(deadline));
        for argument in arguments {
            command.arg(argument.as_slice());
        }
        Ok(node.connection.query(&command).await?)
    }

    /// Runs a script and reads its answer.
    pub(super) async fn reply(
        &self,
        script: Script,
        key: &str,
        arguments: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let value = self.evaluate(script, key, arguments, deadline).await?;
        if let Value::Int(flag) = value {
            return Ok(Reply::Flag(flag == 1));
        }
        let Value::Array(parts) = value else {
            return Err(UNREADABLE);
        };
        let mut parts = parts.into_iter();
        let Some(Value::BulkString(word)) = parts.next() else {
            return Err(UNREADABLE);
        };
        match (word.as_slice(), parts.next()) {
            (b"ok", first) => Ok(Reply::Done(first.into_iter().chain(parts).collect())),
            (b"unknown", _) => Ok(Reply::Unknown),
            (b"late", _) => Err(Failure::Late),
            (b"moved", Some(Value::BulkString(epoch))) => std::str::from_utf8(&epoch)
                .ok()
                .and_then(|epoch| epoch.parse().ok())
                .filter(|epoch| *epoch < LARGEST)
                .map(Reply::Moved)
                .ok_or(UNREADABLE),
            _ => Err(UNREADABLE),
        }
    }

    /// A page of the keys of a node, and the cursor of the next page.
    pub(super) async fn scan(
        &self,
        node: &Node,
        keys: &Keys,
        cursor: u64,
    ) -> Result<(u64, Vec<Vec<u8>>), Failure> {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(keys.pattern())
            .arg("COUNT")
            .arg(PAGE);
        Ok(node.connection.query(&command).await?)
    }
}

/// Keys looked at per page when all are walked.
const PAGE: usize = 256;

pub(super) const UNREADABLE: Failure = Failure::Unreadable {
    what: "the outcome of a script",
};

pub(super) fn node_of<'a>(nodes: &'a [Node], key: &str) -> Result<&'a Node, Failure> {
    let slot = keys::slot(key.as_bytes());
    nodes
        .iter()
        .find(|node| {
            let mut slots = node.slots.iter();
            slots.any(|(first, last)| (*first..=*last).contains(&slot))
        })
        .ok_or(Failure::NoSlot { slot })
}
