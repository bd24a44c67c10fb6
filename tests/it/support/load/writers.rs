//! Clients that push images, sign them in every way regseal keeps, and delete signatures.

use serde_json::{Value, json};

use super::client::{Client, Way};
use super::ledger::{Change, Entry, Kind, Outcome, Part, Place, Subject};
use crate::support::Content;
use crate::support::images::{
    ACCEPT, CONFIG, COSIGN_LAYER, EMPTY, INDEX, MANIFEST, NOTATION, SBOM, artifact_of,
};

/// How many signatures a subject gets, more or less.
const FULL: usize = 40;
const REPOSITORIES: usize = 3;

/// What an image push and an upload need.
const PASS_THROUGH: [Part; 2] = [Part::Upstream, Part::Process];
/// What a signature needs, and only that.
const CAPTURE: [Part; 3] = [Part::S3, Part::Upstream, Part::Process];

pub fn turn(client: &mut Client) {
    let Some(subject) = subject(client) else {
        return;
    };
    match client.chance.below(100) {
        0..45 => drop(sign(client, subject, NOTATION)),
        45..50 => drop(sign(client, subject, SBOM)),
        50..70 => append(client, subject),
        70..82 => sign_with_fallback_tag(client, subject),
        82..92 => delete(client),
        92..96 => sign_without_layer(client, subject),
        _ => drop(push_image(client, "other")),
    }
}

/// One of the youngest subjects; a new one when they are full.
fn subject(client: &mut Client) -> Option<usize> {
    let (subjects, entries) = {
        let book = client.ledger.book();
        (book.subjects.len(), book.entries.len())
    };
    if subjects > entries / FULL {
        let youngest = subjects.saturating_sub(3);
        return Some(youngest + client.chance.below(subjects - youngest));
    }
    let repository = format!("team/app{}", subjects % REPOSITORIES);
    let image = push_image(client, &repository)?;
    let mut book = client.ledger.book();
    book.subjects.push(Subject { repository, image });
    Some(book.subjects.len() - 1)
}

/// Pushes an image and reads it back: nothing but the registry is needed for that.
fn push_image(client: &mut Client, name: &str) -> Option<Content> {
    let replica = client.any_replica();
    let repository = client.repository(replica, name);
    let since = client.ledger.now();
    let config = Content::new(
        CONFIG,
        json!({"architecture": "amd64", "os": "linux"}).to_string(),
    );
    let layer = Content::random("application/vnd.oci.image.layer.v1.tar");
    let image = Content::manifest(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    }));
    let pushed = || {
        for blob in [&config, &layer] {
            repository.try_ensure_blob(blob)?;
        }
        let reply = repository.try_put_manifest("latest", &image)?;
        if reply.status != 201 {
            return Err(format!("{reply:?}"));
        }
        let path = repository.path(&format!("manifests/{}", image.digest()));
        let read = repository.http.try_request("GET", &path, &[ACCEPT], "")?;
        if read.body != image.bytes {
            return Err(format!("{read:?}"));
        }
        Ok(())
    };
    match pushed() {
        Ok(()) => {
            client.ledger.book().counts.images += 1;
            Some(image)
        }
        Err(why) => {
            client.failed("image", &PASS_THROUGH, replica, since, &why);
            None
        }
    }
}

/// Uploads a blob through any replica, and through another one when that fails.
fn upload(client: &mut Client, name: &str, blob: &Content) -> bool {
    for _ in 0..3 {
        let replica = client.any_replica();
        let since = client.ledger.now();
        match client.repository(replica, name).try_ensure_blob(blob) {
            Ok(()) => return true,
            Err(why) => client.failed("upload", &PASS_THROUGH, replica, since, &why),
        }
    }
    false
}

fn sign(client: &mut Client, subject: usize, kind: &str) -> Option<usize> {
    let entry = prepare(client, subject, kind, true)?;
    push(client, entry).then_some(entry)
}

/// Uploads the blobs of a signature, and enters it in the ledger.
fn prepare(client: &mut Client, subject: usize, kind: &str, is_sound: bool) -> Option<usize> {
    let of = client.subject(subject);
    let config = Content::new(if kind == NOTATION { NOTATION } else { EMPTY }, "{}");
    let layer = Content::random(if kind == NOTATION {
        "application/jose+json"
    } else {
        kind
    });
    if !upload(client, &of.repository, &config)
        || (is_sound && !upload(client, &of.repository, &layer))
    {
        return None;
    }
    let manifest = artifact_of(kind, Some(&of.image), &config, &layer);
    Some(client.ledger.book().add(Entry {
        place: Place {
            subject,
            kind: Kind::Referrers,
        },
        digest: manifest.digest(),
        descriptor: manifest.as_referrer(),
        manifest: Some(manifest),
        layer,
        is_sound,
        acts: Vec::new(),
    }))
}

/// Puts the manifest of an entry, again through another replica when it is not known what came of it.
fn push(client: &mut Client, entry: usize) -> bool {
    loop {
        let replica = client.any_replica();
        let (name, manifest, is_sound) = {
            let book = client.ledger.book();
            let of = &book.entries[entry];
            let name = book.subjects[of.place.subject].repository.clone();
            (name, of.manifest.clone().unwrap(), of.is_sound)
        };
        let since = client.ledger.now();
        let act = client.ledger.sent(entry, Change::Push, replica);
        let reply = client
            .repository(replica, &name)
            .try_put_manifest(&manifest.digest(), &manifest)
            .map(|reply| (reply.status, format!("{reply:?}")));
        let outcome = outcome(&reply, 201);
        client.ledger.ended(entry, act, outcome);
        match (outcome, reply) {
            (Outcome::Acknowledged, _) if is_sound => return true,
            (Outcome::Refused, _) if !is_sound => return false,
            (Outcome::Acknowledged | Outcome::Refused, reply) => {
                let text = format!("push by {replica} since {since:.3?}: {reply:?}");
                client.ledger.complain(&text);
                return false;
            }
            (Outcome::Failed, Ok((_, why))) => {
                client.failed("push", &CAPTURE, replica, since, &why);
            }
            (Outcome::Failed | Outcome::Lost, reply) => {
                let why = reply.err().unwrap_or_default();
                client.failed("push", &[Part::Process], replica, since, &why);
            }
        }
        if client.chance.percent(50) {
            return false;
        }
    }
}

fn outcome(reply: &Result<(u16, String), String>, good: u16) -> Outcome {
    match reply {
        Ok((status, _)) if *status == good => Outcome::Acknowledged,
        Ok((400..500, _)) => Outcome::Refused,
        Ok(_) => Outcome::Failed,
        Err(_) => Outcome::Lost,
    }
}

/// Names a layer that nobody has uploaded, which must be refused.
fn sign_without_layer(client: &mut Client, subject: usize) {
    if let Some(entry) = prepare(client, subject, NOTATION, false) {
        push(client, entry);
    }
}

/// As notation 1 does where there is no API: the signature, then the index of the tag, then the old index away.
fn sign_with_fallback_tag(client: &mut Client, subject: usize) {
    let Some(entry) = sign(client, subject, NOTATION) else {
        return;
    };
    let reader = client.any_replica();
    let Some(mut entries) = client.list(subject, Way::FallbackTag, reader) else {
        return;
    };
    let descriptor = client.ledger.book().entries[entry].descriptor.clone();
    if !entries.contains(&descriptor) {
        entries.push(descriptor);
    }
    let index =
        Content::manifest(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}));
    let of = client.subject(subject);
    let replica = client.any_replica();
    let since = client.ledger.now();
    let reply = client
        .repository(replica, &of.repository)
        .try_put_manifest(&of.image.companion_tag(""), &index);
    match reply {
        Ok(reply) if reply.status == 201 => {}
        Ok(reply) => {
            let why = format!("{reply:?}");
            client.failed("fallback tag", &CAPTURE, replica, since, &why);
        }
        Err(why) => client.failed("fallback tag", &[Part::Process], replica, since, &why),
    }
}

/// As cosign 2 does: read the manifest of the tag, append a layer, write it.
fn append(client: &mut Client, subject: usize) {
    let of = client.subject(subject);
    let config = Content::new(CONFIG, "{}");
    let layer = Content::random(COSIGN_LAYER);
    if !upload(client, &of.repository, &config) || !upload(client, &of.repository, &layer) {
        return;
    }
    let reader = client.any_replica();
    let Some(mut layers) = client.list(subject, Way::CosignTag, reader) else {
        return;
    };
    let descriptor = layer.descriptor();
    layers.push(descriptor.clone());
    let manifest: Value = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": layers,
    });
    let entry = client.ledger.book().add(Entry {
        place: Place {
            subject,
            kind: Kind::CosignTag,
        },
        digest: layer.digest(),
        descriptor,
        manifest: None,
        layer,
        is_sound: true,
        acts: Vec::new(),
    });
    let replica = client.any_replica();
    let since = client.ledger.now();
    let act = client.ledger.sent(entry, Change::Push, replica);
    let reply = client
        .repository(replica, &of.repository)
        .try_put_manifest(
            &of.image.companion_tag(".sig"),
            &Content::manifest(&manifest),
        )
        .map(|reply| (reply.status, format!("{reply:?}")));
    let outcome = outcome(&reply, 201);
    client.ledger.ended(entry, act, outcome);
    match (outcome, reply) {
        (Outcome::Acknowledged, _) => {}
        (Outcome::Refused | Outcome::Failed, Ok((_, why))) => {
            let excuses: &[Part] = if outcome == Outcome::Failed {
                &CAPTURE
            } else {
                &[]
            };
            client.failed("cosign tag", excuses, replica, since, &why);
        }
        (_, reply) => {
            let why = reply.err().unwrap_or_default();
            client.failed("cosign tag", &[Part::Process], replica, since, &why);
        }
    }
}

/// Deletes a signature that was acknowledged and that nobody else is deleting.
fn delete(client: &mut Client) {
    let mut replica = client.any_replica();
    let candidates: Vec<usize> = {
        let book = client.ledger.book();
        let entries = book.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| entry.place.kind == Kind::Referrers && entry.stands())
            .map(|(number, _)| number)
            .collect()
    };
    if candidates.len() < 10 {
        return;
    }
    let entry = *client.chance.one_of(&candidates);
    let Some(mut act) = client.ledger.begins_deletion(entry, replica) else {
        return;
    };
    let (name, digest) = {
        let book = client.ledger.book();
        let of = &book.entries[entry];
        (
            book.subjects[of.place.subject].repository.clone(),
            of.digest.clone(),
        )
    };
    let mut is_repeated = false;
    loop {
        let since = client.ledger.now();
        let repository = client.repository(replica, &name);
        let path = repository.path(&format!("manifests/{digest}"));
        let reply = repository.http.try_request("DELETE", &path, &[], "");
        match reply {
            Ok(reply) if reply.status == 202 || (reply.status == 404 && is_repeated) => {
                client.ledger.ended(entry, act, Outcome::Acknowledged);
                return;
            }
            Ok(reply) if reply.status < 500 => {
                client.ledger.ended(entry, act, Outcome::Refused);
                let text =
                    format!("deletion of {digest} by {replica} since {since:.3?}: {reply:?}");
                client.ledger.complain(&text);
                return;
            }
            Ok(reply) => {
                client.ledger.ended(entry, act, Outcome::Failed);
                let why = format!("{reply:?}");
                client.failed("deletion", &CAPTURE, replica, since, &why);
            }
            Err(why) => {
                client.ledger.ended(entry, act, Outcome::Lost);
                client.failed("deletion", &[Part::Process], replica, since, &why);
            }
        }
        if client.chance.percent(50) {
            return;
        }
        is_repeated = true;
        replica = client.any_replica();
        act = client.ledger.sent(entry, Change::Delete, replica);
    }
}
