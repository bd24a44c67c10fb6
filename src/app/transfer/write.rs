//! Reports, for people.

use std::io::{self, Write};

use crate::app::inspect::plain;
use crate::transfer::{ExportReport, ImportReport, Inventory, Problem};

const REPOSITORIES: (&str, &str) = ("repository", "repositories");
const COSIGN_TAGS: (&str, &str) = ("cosign tag", "cosign tags");
const REQUESTS: (&str, &str) = ("request", "requests");

pub(super) fn import(report: &ImportReport, out: &mut dyn Write) -> io::Result<()> {
    let ImportReport {
        repositories,
        tags,
        manifests,
        referrers,
        stored,
        already_there,
        deleted,
        requests,
        duration,
        ..
    } = report;
    let would = if report.dry_run { "would be " } else { "" };
    writeln!(
        out,
        "{}, {}, {} ({}, {duration:.1} s)",
        counted(*repositories, REPOSITORIES),
        counted(*tags, ("tag", "tags")),
        counted(*manifests, ("manifest", "manifests")),
        counted(*requests, REQUESTS),
    )?;
    writeln!(
        out,
        "{}, {} of fallback tags, {}, {} of other tags",
        counted(referrers.native, ("native referrer", "native referrers")),
        referrers.fallback_tags,
        counted(referrers.cosign_tags, COSIGN_TAGS),
        referrers.tagged
    )?;
    writeln!(out, "{stored} {would}stored, {already_there} already there")?;
    if *deleted > 0 {
        writeln!(out, "{deleted} deleted through regseal stay deleted")?;
    }
    problems("skipped", &report.skipped, out)?;
    problems("failed", &report.failed, out)?;
    if report.more_problems > 0 {
        writeln!(out, "and {} more", report.more_problems)?;
    }
    let inventory = match (report.finishes_inventory, report.inventory, report.dry_run) {
        (true, _, true) => "the inventory would be finished",
        (true, _, false) => "the inventory is finished",
        (false, Inventory::Finished, _) => "the inventory of the earlier whole import stands",
        (false, Inventory::Partial, true) => {
            "the inventory would not be finished: existing: allow could not be used"
        }
        (false, Inventory::Partial, false) => {
            "the inventory is not finished: existing: allow cannot be used"
        }
    };
    writeln!(out, "{inventory}")
}

pub(super) fn export(report: &ExportReport, out: &mut dyn Write) -> io::Result<()> {
    let ExportReport {
        repositories,
        referrers,
        fallback_tags,
        cosign_tags,
        written,
        already_there,
        layout,
        requests,
        duration,
        ..
    } = report;
    let would = if report.dry_run { "would be " } else { "" };
    writeln!(
        out,
        "{}, {}, {}, {} ({}, {duration:.1} s)",
        counted(*repositories, REPOSITORIES),
        counted(*referrers, ("referrer", "referrers")),
        counted(*fallback_tags, ("fallback tag", "fallback tags")),
        counted(*cosign_tags, COSIGN_TAGS),
        counted(*requests, REQUESTS),
    )?;
    writeln!(
        out,
        "{written} {would}written, {already_there} already there"
    )?;
    if *layout > 0 {
        writeln!(out, "{layout} {would}written to the layout")?;
    }
    problems("skipped", &report.skipped, out)?;
    problems("failed", &report.failed, out)?;
    if report.more_problems > 0 {
        writeln!(out, "and {} more", report.more_problems)?;
    }
    Ok(())
}

/// A number of things: what one is called, and several.
fn counted(number: u64, (one, several): (&str, &str)) -> String {
    let called = if number == 1 { one } else { several };
    format!("{number} {called}")
}

fn problems(what: &str, problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        let (reference, reason) = (plain(&problem.reference), plain(&problem.reason));
        writeln!(out, "{what}\t{reference}\t{reason}")?;
    }
    Ok(())
}
