//! The chain of certificates, and the keys in it.

use super::super::certificate::Certificate;
use super::super::chain::Chain;
use super::maker::{
    Hashed, Key, RSA_2048, Template, basic_constraints, extended_key_usage, extension, key_usage,
    p256, p384, p521, subject,
};

fn is_accepted(chain: &[Vec<u8>]) -> bool {
    Chain::parse(chain).is_ok()
}

#[test]
fn a_leaf_alone_is_accepted_if_it_signs_itself_and_nothing_else() {
    let key = p256(1);
    let leaf = || Template::leaf("signer");
    let code_signing = "1.3.6.1.5.5.7.3.3";
    for (template, accepted, why) in [
        (leaf(), true, "digitalSignature"),
        (
            leaf().with(&[key_usage(true, 6, 0xc0)]),
            true,
            "with contentCommitment",
        ),
        (
            leaf().and(basic_constraints(false, false, None)),
            true,
            "no CA, said so",
        ),
        (
            leaf().and(extended_key_usage(&[code_signing])),
            true,
            "codeSigning",
        ),
        (
            leaf().and(extension("1.2.3.4", true, &[5, 0])),
            true,
            "unknown critical extension",
        ),
        (leaf().with(&[]), false, "no key usage"),
        (
            leaf().with(&[key_usage(false, 7, 0x80)]),
            false,
            "key usage not critical",
        ),
        (
            leaf().with(&[key_usage(true, 6, 0x40)]),
            false,
            "no digitalSignature",
        ),
        (
            leaf().with(&[key_usage(true, 2, 0x84)]),
            false,
            "keyCertSign",
        ),
        (leaf().with(&[key_usage(true, 1, 0x82)]), false, "cRLSign"),
        (
            leaf().with(&[key_usage(true, 5, 0xa0)]),
            false,
            "keyEncipherment",
        ),
        (
            leaf().and(basic_constraints(true, true, None)),
            false,
            "a CA",
        ),
        (
            leaf().and(extended_key_usage(&["2.5.29.37.0"])),
            false,
            "anyExtendedKeyUsage",
        ),
        (
            leaf().and(extended_key_usage(&["1.3.6.1.5.5.7.3.9"])),
            false,
            "OCSPSigning",
        ),
        (
            leaf().and(extended_key_usage(&[code_signing, "1.3.6.1.5.5.7.3.1"])),
            false,
            "serverAuth beside codeSigning",
        ),
        (
            leaf().and(key_usage(true, 7, 0x80)),
            false,
            "an extension twice",
        ),
        (
            Template {
                hashed: Hashed::Sha1,
                ..leaf()
            },
            false,
            "SHA-1, rightly signed",
        ),
    ] {
        assert_eq!(
            is_accepted(&[template.self_signed(&key)]),
            accepted,
            "{why}"
        );
    }
    let other = leaf().issued_by(&key, &Template::leaf("other"), &key);
    assert!(!is_accepted(&[other]), "signs itself under another name");
    assert!(
        !is_accepted(&[leaf().issued_by(&key, &leaf(), &p256(2))]),
        "signed by another key"
    );
    assert!(!is_accepted(&[]), "empty");
}

/// Root, intermediate and leaf with keys of several kinds.
fn chain(leaf: &Template, middle: &Template, root: &Template, keys: [&Key; 3]) -> Vec<Vec<u8>> {
    vec![
        leaf.issued_by(keys[0], middle, keys[1]),
        middle.issued_by(keys[1], root, keys[2]),
        root.self_signed(keys[2]),
    ]
}

#[test]
fn authorities_are_held_to_their_rules() {
    let (leaf, middle, root) = (
        Template::leaf("signer"),
        Template::authority("middle"),
        Template::authority("root"),
    );
    let keys = [&p256(1), &p384(), &p521()];
    let with = |extensions: &[Vec<u8>]| middle.clone().with(extensions);
    let signs = || key_usage(true, 2, 0x04);
    for (middle, accepted, why) in [
        (middle.clone(), true, "as it has to be"),
        (
            with(&[basic_constraints(true, true, Some(0)), signs()]),
            true,
            "path length 0",
        ),
        (
            with(&[basic_constraints(false, true, None), signs()]),
            false,
            "not critical",
        ),
        (
            with(&[basic_constraints(true, false, None), signs()]),
            false,
            "no CA",
        ),
        (with(&[signs()]), false, "no basic constraints"),
        (
            with(&[basic_constraints(true, true, None)]),
            false,
            "no key usage",
        ),
        (
            with(&[
                basic_constraints(true, true, None),
                key_usage(false, 2, 0x04),
            ]),
            false,
            "key usage not critical",
        ),
        (
            with(&[
                basic_constraints(true, true, None),
                key_usage(true, 7, 0x80),
            ]),
            false,
            "no keyCertSign",
        ),
    ] {
        assert_eq!(
            is_accepted(&chain(&leaf, &middle, &root, keys)),
            accepted,
            "{why}"
        );
    }
    let short = root
        .clone()
        .with(&[basic_constraints(true, true, Some(0)), signs()]);
    assert!(
        !is_accepted(&chain(&leaf, &middle, &short, keys)),
        "root: path length 0"
    );
    let pss = Template {
        hashed: Hashed::Pss,
        ..leaf.clone()
    };
    let keys = [&p256(1), &RSA_2048, &RSA_2048];
    assert!(is_accepted(&chain(&pss, &middle, &root, keys)), "RSA-PSS");
    let sha1 = Template {
        hashed: Hashed::Sha1,
        ..leaf
    };
    let keys = [&p256(1), &p256(2), &p256(3)];
    assert!(!is_accepted(&chain(&sha1, &middle, &root, keys)), "SHA-1");
}

#[test]
fn leaf_and_root_of_one_name_are_told_apart_by_their_keys() {
    let (leaf, root) = (Template::leaf("same"), Template::authority("same"));
    let (leaf_key, root_key) = (p256(1), p256(2));
    let leaf = leaf.issued_by(&leaf_key, &root, &root_key);
    let root = root.self_signed(&root_key);
    assert!(is_accepted(&[leaf.clone(), root.clone()]));
    assert!(!is_accepted(std::slice::from_ref(&leaf)), "no root");
    assert!(
        !is_accepted(&[leaf.clone(), root.clone(), root.clone()]),
        "root twice"
    );
    assert!(!is_accepted(&[root, leaf]), "out of order");
}

#[test]
fn chains_and_certificates_have_bounds() {
    let key = p256(1);
    let leaf = Template::leaf("signer").self_signed(&key);
    assert!(!is_accepted(&vec![leaf.clone(); 17]));
    let long = Template {
        subject: subject(&[("2.5.4.3", &"x".repeat(3000))]),
        ..Template::leaf("")
    };
    assert!(!is_accepted(&[long.self_signed(&key)]));
    assert!(
        Certificate::parse(&[leaf.as_slice(), &[0]].concat()).is_err(),
        "something behind"
    );
    for end in 0..leaf.len() {
        assert!(Certificate::parse(&leaf[..end]).is_err(), "cut at {end}");
    }
}
