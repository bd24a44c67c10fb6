//! The direction of imports between the folders of `src`, as the architecture text has it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each module with what it may import besides itself. `telemetry::fields` stands for the names of fields, open to all.
const MAY_IMPORT: [(&str, &[&str]); 18] = [
    ("main", &["cli", "config", "app", "telemetry"]),
    ("lib", &[]),
    ("cli", &["config"]),
    ("telemetry", &[]),
    ("app", &["*"]),
    // The `Config` types of the modules.
    (
        "config",
        &[
            "server",
            "auth",
            "handlers",
            "admission",
            "store",
            "upstream",
            "telemetry",
        ],
    ),
    ("server", &[]),
    (
        "admin",
        &[
            "server",
            "auth",
            "handlers",
            "admission",
            "policy",
            "verification",
            "store",
            "transfer",
        ],
    ),
    (
        "respond",
        &[
            "route",
            "auth",
            "handlers",
            "admission",
            "store",
            "upstream",
        ],
    ),
    (
        "handlers",
        &["auth", "route", "admission", "store", "upstream"],
    ),
    ("transfer", &["auth", "route", "store", "upstream"]),
    ("auth", &["route", "upstream"]),
    ("admission", &["policy", "verification", "store"]),
    ("policy", &["verification"]),
    ("verification", &[]),
    ("store", &[]),
    ("upstream", &[]),
    ("route", &[]),
];

/// What everybody may import, and which import nothing of the crate themselves; `backends` is there for tests only.
const OPEN_TO_ALL: [&str; 9] = [
    "oci",
    "certificates",
    "body",
    "clock",
    "secret",
    "yaml",
    "sealing",
    "telemetry::fields",
    "backends",
];

#[test]
fn modules_import_in_the_direction_of_the_data_path() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let inner = file.strip_prefix(&source).unwrap();
        let first = inner
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = first.trim_end_matches(".rs");
        let Some(allowed) = allowed_for(module) else {
            wrong.push(format!(
                "{}: module {module} is not in the table",
                inner.display()
            ));
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        for import in imports(&text, module == "main") {
            if import != module
                && !allowed
                    .iter()
                    .any(|name| *name == "*" || covers(name, &import, &text))
            {
                wrong.push(format!(
                    "{}: {module} must not import {import}",
                    inner.display()
                ));
            }
        }
        let depth =
            inner.components().count() - usize::from(inner.file_name().unwrap() == "mod.rs");
        if climbs_out(&text, depth) {
            wrong.push(format!(
                "{}: climbs out of its module with `super`",
                inner.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_every_way_to_write_an_import() {
    for (text, expected) in [
        ("use crate::store::Signatures;", vec!["store"]),
        ("use crate::{oci::Digest, store};", vec!["oci", "store"]),
        (
            "use crate::{\n    auth::{Permit, layer},\n    route::Route,\n};",
            vec!["auth", "route"],
        ),
        ("fn f(x: crate :: upstream::Client) {}", vec!["upstream"]),
        ("/// See [`crate::store`].\n// crate::auth", vec![]),
        ("pub(in crate::store) fn f() {}", vec!["store"]),
        ("pub(crate) fn f() {}", vec![]),
    ] {
        let found: Vec<String> = imports(text, false).into_iter().collect();
        assert_eq!(found, expected, "{text}");
    }
    assert!(climbs_out("use super::super::store;", 1));
    assert!(climbs_out("use super::store;", 1));
    assert!(!climbs_out("use super::sibling;", 2));
    assert!(climbs_out("use super::super::store;", 2));
    assert!(!climbs_out("#[cfg(test)]\nmod tests { use super::*; }", 1));
}

fn allowed_for(module: &str) -> Option<Vec<&'static str>> {
    if let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) {
        return Some(allowed.iter().copied().chain(OPEN_TO_ALL).collect());
    }
    OPEN_TO_ALL.contains(&module).then(Vec::new)
}

/// Whether a row of the table allows the import; a row with a path allows that path only.
fn covers(row: &str, import: &str, text: &str) -> bool {
    let (module, rest) = row.split_once("::").unwrap_or((row, ""));
    let uses = |path: &str| without_comments(text).matches(path).count();
    module == import
        && (rest.is_empty() || uses(&format!("crate::{row}")) == uses(&format!("crate::{module}")))
}

/// The modules of the crate that a text names, after `crate::` and, in the binary, after `regseal::`.
fn imports(text: &str, is_binary: bool) -> BTreeSet<String> {
    let text: String = without_comments(text)
        .replace(" ::", "::")
        .replace(":: ", "::");
    let roots: &[&str] = if is_binary {
        &["regseal::"]
    } else {
        &["crate::"]
    };
    let mut found = BTreeSet::new();
    for root in roots {
        for (at, _) in text.match_indices(root) {
            let rest = &text[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(heads(group)),
                None => found.extend(head(rest)),
            }
        }
    }
    found
}

/// The first names of the items in `a::b, c::{d, e}}`, up to the brace that closes the group.
fn heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(character == '{') - i32::from(character == '}');
                items.last_mut().unwrap().push(character);
            }
        }
    }
    items.iter().filter_map(|item| head(item.trim())).collect()
}

fn head(path: &str) -> Option<String> {
    let name: String = path
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    // A type or a constant of the crate's root is no module.
    (!name.is_empty() && name.chars().all(|c| !c.is_uppercase())).then_some(name)
}

/// Whether a chain of `super` leaves the top-level module of a file that lies `depth` levels below the crate's root.
fn climbs_out(text: &str, depth: usize) -> bool {
    let text = without_comments(text);
    // The inner modules of a file, such as its tests, are one level deeper.
    let outer = text.split("#[cfg(test)]").next().unwrap_or_default();
    let too_far = |part: &str, levels: usize| part.contains(&"super::".repeat(levels));
    too_far(outer, depth) || too_far(&text, depth + 1)
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
