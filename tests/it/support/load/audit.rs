//! The reading of everything after the load: each replica shows the same, and what it shows is there.

use std::sync::Arc;

use serde_json::Value;

use super::client::{Client, Way};
use super::ledger::{Change, Entry, Kind, Ledger, Outcome};
use crate::support::chance::Chance;
use crate::support::images::{ACCEPT, sha256};
use crate::support::{Replicas, Repository};

/// Adds what is found to the lists and complaints of the ledger.
pub fn audit(replicas: &Replicas, ledger: &Arc<Ledger>, chance: &Chance) {
    let mut client = Client::new(&replicas.endpoints(), Arc::clone(ledger), chance.clone());
    let subjects = ledger.book().subjects.len();
    for subject in 0..subjects {
        for ways in [&[Way::Api, Way::FallbackTag][..], &[Way::CosignTag]] {
            let mut first = None;
            for &way in ways {
                for replica in 0..client.replicas() {
                    let shown = client.list(subject, way, replica);
                    let Some(shown) = shown else {
                        let text = format!("{way:?} of {subject} by {replica}: no list at the end");
                        ledger.complain(&text);
                        continue;
                    };
                    let first = first.get_or_insert_with(|| shown.clone());
                    if *first != shown {
                        let text = format!(
                            "{way:?} of {subject} by {replica}: {:?} instead of {:?}",
                            digests(&shown),
                            digests(first)
                        );
                        ledger.complain(&text);
                    }
                }
            }
            for descriptor in first.unwrap_or_default() {
                let digest = descriptor["digest"].as_str().unwrap_or_default();
                read_back(&mut client, subject, ways[0], digest);
            }
        }
    }
    what_was_deleted_is_gone(&client);
}

/// The digests of descriptors, in their order.
fn digests(descriptors: &[Value]) -> Vec<&str> {
    descriptors
        .iter()
        .filter_map(|descriptor| descriptor["digest"].as_str())
        .collect()
}

/// What is listed can be read, whether its push was acknowledged or not.
fn read_back(client: &mut Client, subject: usize, way: Way, digest: &str) {
    let kind = match way {
        Way::Api | Way::FallbackTag => Kind::Referrers,
        Way::CosignTag => Kind::CosignTag,
    };
    let place = super::ledger::Place { subject, kind };
    let (manifest, layer) = {
        let book = client.ledger.book();
        // A complaint was made of what is not there when it was listed.
        let Some(entry) = book.find(place, digest).map(|entry| &book.entries[entry]) else {
            return;
        };
        (entry.manifest.clone(), entry.layer.clone())
    };
    let replica = client.any_replica();
    let repository = client.repository(replica, &client.subject(subject).repository);
    let mut wanted = vec![(format!("blobs/{}", layer.digest()), layer.digest())];
    if let Some(manifest) = &manifest {
        wanted.push((
            format!("manifests/{}", manifest.digest()),
            manifest.digest(),
        ));
        let config = manifest.json()["config"]["digest"].clone();
        let config = config.as_str().unwrap().to_owned();
        wanted.push((format!("blobs/{config}"), config));
    }
    for (rest, digest) in wanted {
        let read = read(&repository, &rest);
        if !matches!(&read, Ok((200, body)) if sha256(body) == digest) {
            let text = format!("{rest} of {place:?} by {replica} reads as {read:?}");
            client.ledger.complain(&text);
        }
    }
}

fn read(repository: &Repository, rest: &str) -> Result<(u16, Vec<u8>), String> {
    let path = repository.path(rest);
    let reply = repository.http.try_request("GET", &path, &[ACCEPT], "")?;
    Ok((reply.status, reply.body.to_vec()))
}

fn what_was_deleted_is_gone(client: &Client) {
    let deleted: Vec<(String, String)> = {
        let book = client.ledger.book();
        let entries = book.entries.iter().filter(|entry| is_deleted(entry));
        entries
            .map(|entry| {
                let subject = &book.subjects[entry.place.subject];
                (subject.repository.clone(), entry.digest.clone())
            })
            .collect()
    };
    for (name, digest) in deleted {
        for replica in 0..client.replicas() {
            let read = read(
                &client.repository(replica, &name),
                &format!("manifests/{digest}"),
            );
            if !matches!(read, Ok((404, _))) {
                let text = format!("deleted {digest} by {replica} reads as {read:?}");
                client.ledger.complain(&text);
            }
        }
    }
}

fn is_deleted(entry: &Entry) -> bool {
    entry.acts.iter().any(|act| {
        act.change == Change::Delete && matches!(act.end, Some((_, Outcome::Acknowledged)))
    })
}
