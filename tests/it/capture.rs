//! Where a signature is kept, and what a store that cannot take it leaves behind.

use crate::support::images::{NOTATION, SBOM};
use crate::support::{ALICE, Auth, Registry, Regseal, Stage, wait_for};

const APP: &str = "team/app";

#[test]
fn the_mode_decides_whether_the_registry_gets_a_signature_too() {
    for (mode, has_api, is_behind) in [
        ("auto", false, false),
        ("store", false, false),
        ("both", false, true),
        ("auto", true, true),
        ("store", true, false),
    ] {
        let why = format!("{mode}, Referrers API behind: {has_api}");
        let registry = if has_api {
            Registry::with_referrers_api()
        } else {
            Registry::with(Auth::None)
        };
        let regseal = Regseal::builder(&registry)
            .config(&format!("capture: {{mode: {mode}}}\n"))
            .start();
        let repository = regseal.endpoint.repository(ALICE, APP);
        let behind = registry.endpoint.repository(ALICE, APP);
        let image = repository.push_image("v1");
        let signature = repository.attach(NOTATION, &image);

        assert_eq!(
            repository.referrers(&image),
            [signature.as_referrer()],
            "{why}"
        );
        repository.get_manifest(&signature.digest()).expect(200);
        let status = behind.get_manifest(&signature.digest()).status;
        assert_eq!(status, if is_behind { 200 } else { 404 }, "{why}");

        repository.delete_manifest(&signature.digest()).expect(202);
        behind.get_manifest(&signature.digest()).expect(404);
        repository.get_manifest(&signature.digest()).expect(404);
        assert!(repository.referrers(&image).is_empty(), "{why}");
    }
}

/// A file where the records belong makes the real store fail.
#[test]
fn what_the_store_cannot_take_is_refused_and_not_half_there() {
    let stage = Stage::with(Auth::None);
    let (repository, behind) = (stage.repository(APP), stage.behind(APP));
    let image = repository.push_image("v1");
    let records = stage.regseal.objects().join("v1/repos").join(APP);
    std::fs::create_dir_all(&records).unwrap();
    let obstacle = records.join("_subjects");
    std::fs::write(&obstacle, "").unwrap();

    let signature = repository.artifact(NOTATION, Some(&image));
    let [kept, deleted] = [SBOM, SBOM].map(|kind| repository.artifact(kind, Some(&image)));
    for refused in [&signature, &kept, &deleted] {
        let reply = repository.put_manifest(&refused.digest(), refused);
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(!reply.header("retry-after").is_empty());
    }
    behind.get_manifest(&signature.digest()).expect(404);
    behind.get_manifest(&kept.digest()).expect(200);
    behind.delete_manifest(&deleted.digest()).expect(202);
    std::fs::remove_file(&obstacle).unwrap();

    wait_for("what the registry took to be listed", || {
        (repository.referrers(&image) == [kept.as_referrer()]).then_some(())
    });
    repository.get_manifest(&signature.digest()).expect(404);
    repository
        .put_manifest(&signature.digest(), &signature)
        .expect(201);
    assert_eq!(
        repository.referrers(&image),
        [kept.as_referrer(), signature.as_referrer()]
    );
}
