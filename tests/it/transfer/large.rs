//! Registries with much in them.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Shelf, empty_data, import_from, report};
use crate::support::images::{NOTATION, index_of};
use crate::support::{ALICE, Auth, Content, Registry, rounds};

/// What a command has said, and the most memory it had resident, in KiB, a moment before its end.
fn watched(command: &mut Command) -> (Output, u64) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(now.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    (child.wait_with_output().unwrap(), peak)
}

#[test]
fn a_large_index_and_thousands_of_tags_are_walked_in_little_memory() {
    let registry = Registry::with(Auth::None);
    let shelf = Shelf::of(registry.endpoint.repository(ALICE, "large"));
    let (tags, children) = (rounds(300, 9_800), rounds(300, 3_000));
    let manifests: Vec<Content> = (0..children).map(|_| shelf.manifest(None)).collect();
    for manifest in &manifests {
        shelf.repository.push_manifest(manifest);
    }
    shelf
        .repository
        .put_manifest("index", &index_of(&manifests))
        .expect(201);
    let mut signed = 0;
    for n in 0..tags {
        let image = shelf.put(&format!("v{n}"));
        if n % 50 == 0 {
            let signature = shelf.repository.attach(NOTATION, &image);
            let list = index_of([&signature]);
            shelf
                .repository
                .put_manifest(&image.companion_tag(""), &list)
                .expect(201);
            signed += 1;
        }
    }
    let data = empty_data();
    let started = Instant::now();
    let (output, peak) = watched(&mut import_from(&registry.endpoint, data.path()));
    let done = report(&output, 0);
    assert_eq!(done["tags"], tags + signed + 1);
    assert_eq!(done["stored"], signed);
    assert_eq!(done["manifests"], tags + 2 * signed + children + 1);
    eprintln!(
        "{} tags, {children} entries, {signed} signatures: {} requests, {:.1} s, {peak} KiB",
        done["tags"],
        done["requests"],
        started.elapsed().as_secs_f64()
    );
}
