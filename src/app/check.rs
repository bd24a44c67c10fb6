//! `regseal config check`: every mistake in the configuration, and where that is right, in the policy and the trust material
//! that it names.

use std::error::Error;
use std::io::{self, Write};

use serde_json::{Value as Json, json};

use super::{StartError, lint, sealing_keys};
use crate::cli::{Exit, OutputForm};
use crate::config::{self, ConfigErrors, Environment, Flags, Origin, Settings};
use crate::policy::{LoadErrors, Place};

/// Something that is wrong, wherever that was found.
struct Found {
    line: String,
    json: Json,
}

/// Tells every mistake: [`Exit::No`] if there is one.
///
/// # Errors
/// If the output cannot be written.
pub fn check(
    flags: &Flags,
    environment: &Environment,
    form: OutputForm,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let found = match config::load(flags, environment) {
        Ok(settings) => {
            let mut found = in_keys(&settings);
            found.extend(in_policy(&settings));
            found
        }
        Err(ConfigErrors::Mistakes(mistakes)) => mistakes.iter().map(Found::in_config).collect(),
        Err(unreadable @ ConfigErrors::Unreadable { .. }) => {
            writeln!(err, "{unreadable}")?;
            return Ok(Exit::Undecided);
        }
    };
    let valid = found.is_empty();
    match form {
        OutputForm::Table if valid => writeln!(out, "the configuration is valid")?,
        OutputForm::Table => {
            for Found { line, .. } in &found {
                writeln!(out, "{line}")?;
            }
        }
        OutputForm::Json => {
            let mistakes: Vec<Json> = found.into_iter().map(|found| found.json).collect();
            writeln!(out, "{:#}", json!({"valid": valid, "mistakes": mistakes}))?;
        }
    }
    Ok(if valid { Exit::Success } else { Exit::No })
}

/// Files that hold no keys.
fn in_keys(settings: &Settings) -> Vec<Found> {
    let keys = settings.keys.sealing.iter();
    keys.filter_map(|path| Some(Found::in_key(&sealing_keys::read(path).err()?)))
        .collect()
}

/// What a server would refuse to start with.
fn in_policy(settings: &Settings) -> Vec<Found> {
    let Some(policy_file) = &settings.policy.file else {
        return Vec::new();
    };
    match lint::load(settings, policy_file) {
        Ok(_) => Vec::new(),
        Err(LoadErrors(mistakes)) => mistakes.iter().map(Found::in_policy).collect(),
    }
}

impl Found {
    fn in_key(error: &StartError) -> Self {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        let problem = format!("{error}: {cause}");
        Self {
            line: format!("keys.sealing: {problem}"),
            json: json!({"origin": Json::Null, "key": "keys.sealing", "problem": problem}),
        }
    }

    fn in_config(mistake: &config::Mistake) -> Self {
        let origin = (mistake.origin != Origin::Default).then(|| mistake.origin.to_string());
        let problem = mistake.problem.to_string();
        Self {
            line: mistake.to_string(),
            json: json!({"origin": origin, "key": mistake.key, "problem": problem}),
        }
    }

    fn in_policy(mistake: &crate::policy::Mistake) -> Self {
        let (place, problem) = (&mistake.place, &mistake.problem);
        let origin = Place {
            path: String::new(),
            ..place.clone()
        };
        Self {
            line: mistake.to_string(),
            json: json!({"origin": origin.to_string(), "key": place.path, "problem": problem}),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn run(text: &str, name: &str, form: OutputForm) -> (u8, String, String) {
        let directory = tempfile::tempdir().unwrap();
        run_in(&directory, text, name, form)
    }

    /// Checks the file of that name, where `regseal.yaml` has this text.
    fn run_in(
        directory: &TempDir,
        text: &str,
        name: &str,
        form: OutputForm,
    ) -> (u8, String, String) {
        std::fs::write(directory.path().join("regseal.yaml"), text).unwrap();
        let variables: [(&str, &str); 0] = [];
        let environment = Environment::new(directory.path(), variables);
        let flags = Flags {
            config: Some(name.into()),
            ..Flags::default()
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = check(&flags, &environment, form, &mut out, &mut err).unwrap();
        let place = directory.path().to_str().unwrap();
        let [out, err] = [out, err].map(|text| {
            let text = String::from_utf8(text).unwrap();
            text.replace(place, "PLACE")
        });
        (exit.status(), out, err)
    }

    #[test]
    fn every_file_of_keys_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let key = crate::sealing::SealingKey::generate().unwrap().to_text();
        for (name, text) in [
            ("good.key", key.as_str()),
            ("short.key", "c2hvcnQ="),
            ("no.key", "no key"),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let config = "upstream: {url: http://registry:5000}\nkeys: {sealing: [good.key, short.key, no.key]}\n";
        let (status, out, _) = run_in(&directory, config, "regseal.yaml", OutputForm::Table);
        assert_eq!(status, 1);
        let told: Vec<&str> = out.lines().collect();
        let [short, no] = told.as_slice() else {
            panic!("two files are wrong: {out}");
        };
        for (line, name) in [(short, "short.key"), (no, "no.key")] {
            assert!(
                line.starts_with("keys.sealing: ") && line.contains(name),
                "{out}"
            );
        }
    }

    #[test]
    fn the_answer_is_yes_or_no_or_none() {
        let good = "upstream: {url: http://a}";
        let (status, out, err) = run(good, "regseal.yaml", OutputForm::Table);
        let expected = (0, "the configuration is valid\n", "");
        assert_eq!((status, out.as_str(), err.as_str()), expected);

        let bad = "upstream: {url: http://a}\nlisen: {}\n";
        let (status, out, err) = run(bad, "regseal.yaml", OutputForm::Table);
        let expected = "regseal.yaml:2: lisen: unknown key (did you mean \"listen\"?)\n";
        assert_eq!((status, out.as_str(), err.as_str()), (1, expected, ""));

        let (status, out, err) = run("", "missing.yaml", OutputForm::Table);
        assert_eq!((status, out.as_str()), (3, ""));
        assert!(err.starts_with("missing.yaml: cannot be read: "), "{err}");
    }

    #[test]
    fn programs_are_answered_in_json() {
        let (status, out, _) = run("lisen: {}", "regseal.yaml", OutputForm::Json);
        assert_eq!(status, 1);
        insta::assert_snapshot!(out, @r#"
        {
          "mistakes": [
            {
              "key": "lisen",
              "origin": "regseal.yaml:1",
              "problem": "unknown key (did you mean \"listen\"?)"
            },
            {
              "key": "upstream.url",
              "origin": null,
              "problem": "required: set it in the file, with REGSEAL__UPSTREAM__URL or with --upstream"
            }
          ],
          "valid": false
        }
        "#);
    }

    #[test]
    fn a_policy_is_checked_with_all_that_it_names() {
        let directory = tempfile::tempdir().unwrap();
        let config =
            "upstream: {url: http://a}\npolicy: {file: policy.yaml}\ntrust: {directory: trust}\n";
        let check = |form| run_in(&directory, config, "regseal.yaml", form);
        let missing = "PLACE/policy.yaml: cannot be read: No such file or directory (os error 2)\n";
        assert_eq!(
            check(OutputForm::Table),
            (1, missing.to_owned(), String::new())
        );

        let policy = "version: 1\nauthorities:\n  key: {cosign: {key: missing.pub, transparency_log: ignored}}\n  \
                      team: {notation: {}}\nrules:\n  - {name: all, repositories: ['**'], requires: key}\n";
        std::fs::write(directory.path().join("policy.yaml"), policy).unwrap();
        let (status, out, err) = check(OutputForm::Table);
        assert_eq!((status, err.as_str()), (1, ""));
        insta::assert_snapshot!(out, @r#"
        PLACE/policy.yaml:3: authorities.key.cosign.key: PLACE/missing.pub: cannot be read: No such file or directory (os error 2)
        PLACE/policy.yaml:6: rules[0].requires: unknown key (did you mean "require"?)
        PLACE/trust: has no trustpolicy.json
        "#);
        let (_, out, _) = check(OutputForm::Json);
        let answer: Json = serde_json::from_str(&out).unwrap();
        let second = json!({
            "origin": "PLACE/policy.yaml:6",
            "key": "rules[0].requires",
            "problem": "unknown key (did you mean \"require\"?)",
        });
        assert_eq!(
            (&answer["valid"], &answer["mistakes"][1]),
            (&json!(false), &second)
        );

        let policy = "version: 1\nrules: [{name: all, repositories: ['**']}]\n";
        std::fs::write(directory.path().join("policy.yaml"), policy).unwrap();
        assert_eq!(
            check(OutputForm::Table).0,
            0,
            "no authority needs the trust directory"
        );
    }
}
