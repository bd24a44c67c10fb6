//! The policy file, and with it the reader of YAML.

use std::path::Path;

use regseal::clock::UnixMillis;
use regseal::policy::Policy;

pub(crate) fn read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let read = || {
        Policy::parse(
            Path::new("policy.yaml"),
            text,
            UnixMillis::new(1_800_000_000_000),
        )
    };
    match (read(), read()) {
        (Ok((first, _)), Ok((second, _))) => {
            let names = |policy: &Policy| -> Vec<String> {
                policy
                    .rules()
                    .iter()
                    .map(|rule| rule.name.clone())
                    .collect()
            };
            assert_eq!(names(&first), names(&second));
            for rule in first.rules() {
                assert!(
                    first.rule(&rule.name).is_some(),
                    "a rule is found by its name"
                );
            }
        }
        (Err(first), Err(second)) => {
            assert!(!first.to_string().is_empty());
            assert_eq!(first.to_string(), second.to_string());
        }
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("one text is read in two ways"),
    }
}
