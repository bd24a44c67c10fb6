//! What the distribution specification, the programs that speak it and the registries behind ask of regseal, each with
//! the tests that show it.

use std::path::Path;

/// Number, what must be, and the paths of the tests; `conformance` is the suite that `make conformance` runs.
type Requirement = (usize, &'static str, &'static [&'static str]);

const REFERRERS: &[Requirement] = &[
    (
        1,
        "a list of referrers is an image index with its exact type and length",
        &["referrers::an_unknown_subject_has_an_empty_list"],
    ),
    (
        2,
        "an unknown subject, also in an unknown repository, has an empty list",
        &["referrers::an_unknown_subject_has_an_empty_list"],
    ),
    (
        3,
        "a subject that is no digest is 400, one of an unknown algorithm has an empty list",
        &["referrers::a_subject_must_be_a_digest"],
    ),
    (
        4,
        "the artifact type of an entry is the manifest's own, else that of the config of an image, else none",
        &[
            "referrers::a_pushed_subject_is_confirmed",
            "referrers::what_the_registry_held_before_is_listed_as_well",
        ],
    ),
    (
        5,
        "an entry has the manifest's annotations, and size, digest and type of its bytes",
        &["referrers::a_pushed_subject_is_confirmed"],
    ),
    (
        6,
        "a filter selects by any of the types asked for and says so; an empty one is none",
        &["referrers::a_filter_selects_by_artifact_type_and_says_so"],
    ),
    (
        7,
        "pages have at most 4 MiB, the first as much as fits, and together are the whole list, also while others push",
        &[
            "referrers::a_long_list_comes_in_pages",
            "referrer_paging::a_walk_has_all_that_was_there_throughout_and_nothing_twice",
            "referrer_paging::a_referrer_that_is_pushed_again_is_not_met_twice",
        ],
    ),
    (
        8,
        "the order is stable, oldest first",
        &[
            "referrers::a_long_list_comes_in_pages",
            "referrer_paging::a_cursor_outlives_the_entry_it_names",
        ],
    ),
    (
        9,
        "HEAD is GET without the body, other methods are 405",
        &[
            "referrers::referrers_are_only_read",
            "referrers::an_unknown_subject_has_an_empty_list",
        ],
    ),
    (
        10,
        "entries come from manifests that were read, never from a descriptor",
        &[
            "upstream_referrers::an_entry_is_what_its_bytes_say",
            "companion_tags::a_fallback_tag_lists_only_referrers_of_its_subject",
            "transfer::import::what_lies_about_itself_is_skipped_and_named",
        ],
    ),
];

const PUSHES: &[Requirement] = &[
    (
        11,
        "a manifest with a subject is answered with OCI-Subject when it is durably listed",
        &["referrers::a_pushed_subject_is_confirmed"],
    ),
    (
        12,
        "a subject may be absent, also where the registry behind refuses that",
        &[
            "referrers::a_subject_may_come_later",
            "upstream_referrers::what_the_registry_refuses_for_its_subject_is_kept_here",
            "mends::refused_kinds::a_referrer_of_an_absent_subject_is_kept_here_where_the_registry_refuses_it",
        ],
    ),
    (
        13,
        "a referrer is listed by every replica when its push is answered",
        &["replicas::what_one_replica_acknowledges_all_others_show_at_once"],
    ),
    (
        14,
        "the location of a pushed manifest gives its bytes and type",
        &[
            "referrers::a_pushed_subject_is_confirmed",
            "mends::second_names::an_index_of_images_by_second_names_is_pushed_and_read",
        ],
    ),
    (
        15,
        "a digest that is not that of the bytes, or none, is 400",
        &[
            "disguise::a_digest_must_be_that_of_the_bytes",
            "mends::digests::what_is_no_digest_is_refused_at_every_endpoint",
            "mends::second_names::a_push_by_a_name_of_other_bytes_is_refused",
        ],
    ),
    (
        16,
        "parameters of a content type are ignored; another type than in the manifest is 400",
        &["mends::refused_kinds::the_type_of_a_manifest_is_said_in_one_way"],
    ),
    (
        17,
        "manifests of 4 MiB are taken, larger ones refused before they are read",
        &["mends::refused_kinds::a_manifest_over_the_limit_is_refused_before_it_is_read"],
    ),
    (
        18,
        "what is forwarded arrives byte by byte",
        &["reads::what_is_asked_and_answered_is_not_rewritten"],
    ),
    (
        19,
        "only signatures are kept from the registry",
        &[
            "referrers::other_artifacts_with_a_subject_stay_in_the_registry",
            "referrers::what_only_regseal_holds_does_not_poison_a_later_push",
        ],
    ),
    (
        20,
        "tags beside a digest are each named in OCI-Tag",
        &[
            "mends::tag_params::one_push_sets_many_tags",
            "mends::tag_params::what_is_no_tag_stops_the_push_before_anything_is_stored",
            "mends::tag_params::each_tag_is_judged_before_one_is_set",
        ],
    ),
    (
        21,
        "what a policy refuses is 403 with a reason, and no tag names it",
        &[
            "policy_clients::crane_is_told_how_to_sign_without_authentication",
            "policy_bypass::pushes::no_tag_is_given_to_what_is_unsigned",
        ],
    ),
    (
        22,
        "who may sign sees what was refused, who may only pull does not",
        &[
            "policy_clients::who_may_only_pull_neither_sees_nor_signs_what_was_rejected",
            "relay::whoever_may_push_sees_what_was_rejected_with_a_token_to_pull",
        ],
    ),
];

const COMPANION_TAGS: &[Requirement] = &[
    (
        23,
        "a fallback index is taken, although the registry behind has none of what it lists",
        &[
            "clients::signers::notation_without_authentication",
            "companion_tags::the_fallback_tag_reads_as_the_api_and_is_never_a_second_truth",
        ],
    ),
    (
        24,
        "the fallback tag reads as the API, and is 404 without referrers",
        &["companion_tags::the_fallback_tag_reads_as_the_api_and_is_never_a_second_truth"],
    ),
    (
        25,
        "deleting a superseded fallback index is 202 and loses no referrer",
        &["companion_tags::the_fallback_tag_reads_as_the_api_and_is_never_a_second_truth"],
    ),
    (
        26,
        "writers of a fallback tag at the same time lose nothing",
        &[
            "durability::a_hundred_writers_of_the_fallback_tag_lose_nothing",
            "replicas::a_hundred_writers_of_the_fallback_tag_over_three_replicas_lose_nothing",
            "parallel_clients::clients_that_sign_at_once_lose_nothing",
            "parallel_clients::clients_that_sign_at_once_through_two_replicas_lose_nothing",
        ],
    ),
    (
        27,
        "fallback indexes that the registry had before are listed, each entry read and its subject compared",
        &[
            "referrers::what_the_registry_held_before_is_listed_as_well",
            "upstream_referrers::tags_that_are_written_in_the_registry_later_are_noticed",
            "transfer::import::what_the_programs_people_use_have_left_is_taken_over",
        ],
    ),
    (
        28,
        "a registry that answers with the subject itself gives no list",
        &["upstream_referrers::the_subject_itself_is_no_list_of_its_referrers"],
    ),
    (
        29,
        "cosign's tags are written, written again and read by all versions of cosign",
        &[
            "clients::signers::cosign_2_without_authentication",
            "companion_tags::versions_of_a_cosign_tag_are_united",
            "transfer::export::what_was_captured_is_verified_when_regseal_has_gone",
        ],
    ),
    (
        30,
        "subjects of sha512 have the tag of 64 digits, and the untruncated one is no error",
        &[
            "sha512_subjects::the_cut_tag_reads_as_the_list_and_is_never_a_second_truth",
            "sha512_subjects::a_cut_tag_from_before_is_merged_and_absorbed",
            "sha512_subjects::subjects_whose_tags_are_alike_are_kept_apart",
        ],
    ),
    (
        31,
        "tags that are hidden are not listed, and paging stays right",
        &["referrers_tags::referrers_tags_are_not_in_the_tag_list"],
    ),
    (
        32,
        "a registry with the API, or one that makes the tags itself, is merged without duplicates",
        &[
            "referrers_tags::a_referrers_tag_that_the_registry_makes_adds_nothing",
            "upstream_referrers::what_the_registry_itself_lists_is_merged_and_followed",
            "upstream_referrers::all_pages_of_what_the_registry_lists_are_read",
            "upstream_referrers::a_referrers_api_that_comes_or_goes_is_noticed",
        ],
    ),
    (
        33,
        "neither a header nor a 200 is proof of the API",
        &[
            "upstream_referrers::what_only_looks_like_the_api_is_not_believed",
            "doctor::doubts::a_server_that_answers_everything_is_not_believed",
        ],
    ),
];

const READS: &[Requirement] = &[
    (
        34,
        "what regseal holds is served only in repositories that link it",
        &[
            "bypass::a_digest_opens_no_other_repository",
            "gate::what_another_credential_opens_stays_closed_to_others",
        ],
    ),
    (
        35,
        "HEAD has the headers of GET",
        &["reads::head_is_get_without_its_body"],
    ),
    (
        36,
        "ranges are 206, and what cannot be satisfied is 416 with a whole answer",
        &[
            "reads::parts_of_a_blob_are_those_of_the_specification",
            "companion_tags::a_range_beyond_a_blob_has_a_whole_answer",
        ],
    ),
    (
        37,
        "nothing is encoded again, and conditions are answered",
        &[
            "reads::a_condition_is_met_with_304_also_under_a_policy",
            "reads::what_is_asked_and_answered_is_not_rewritten",
        ],
    ),
    (
        38,
        "what regseal reads for itself is read by digest and hashed",
        &[
            "upstream_referrers::an_entry_is_what_its_bytes_say",
            "policy_bypass::digests::no_digest_shows_what_is_unsigned",
        ],
    ),
    (
        39,
        "a tag is resolved once for a decision and its answer",
        &["policy_bypass::standing::a_tag_never_names_what_is_unsigned_while_two_push_it"],
    ),
    (
        40,
        "the digest of an answer is of the algorithm that was asked for",
        &[
            "mends::second_names::an_index_of_images_by_second_names_is_pushed_and_read",
            "mends::second_names::conditions_are_about_the_name_that_is_asked_for",
        ],
    ),
];

const UPLOADS: &[Requirement] = &[
    (
        41,
        "the location of an upload is regseal's own, its query as it came, its scheme never weaker",
        &[
            "uploads::sessions::a_location_of_the_registry_stays_with_regseal",
            "disguise::a_client_cannot_choose_where_others_are_sent",
            "tls::balancers::locations_and_challenges_name_what_clients_use",
        ],
    ),
    (
        42,
        "uploads outlive a restart and go on at another replica",
        &[
            "uploads::sessions::a_session_belongs_to_no_replica",
            "uploads::foreign::a_session_elsewhere_belongs_to_no_replica",
            "lifecycle::an_upload_goes_on_after_a_restart",
            "replicas::an_upload_that_begins_on_one_replica_ends_on_another",
        ],
    ),
    (
        43,
        "chunks without a length stream with bounded memory, headers unchanged",
        &[
            "uploads::sessions::a_registry_that_reads_slowly_does_not_fill_the_memory",
            "lifecycle::a_large_blob_streams_both_ways",
        ],
    ),
    (
        44,
        "a chunk out of order is 416 with the end of what is there, and the upload goes on",
        &[
            "mends::chunks::a_chunk_out_of_order_leaves_the_session_as_it_was",
            "mends::chunks::any_replica_knows_how_far_a_session_is",
        ],
    ),
    (
        45,
        "every registry's answer to a chunk is 202 with the range",
        &["uploads::sessions::answers_of_a_session_have_the_status_of_the_specification"],
    ),
    (
        46,
        "upload locations elsewhere are mapped, and nobody can make one up",
        &[
            "uploads::foreign::a_session_elsewhere_is_one_of_regseal",
            "uploads::foreign::a_session_cannot_be_forged_or_moved",
            "uploads::foreign::regseal_goes_nowhere_that_the_registry_could_not_be",
            "uploads::foreign::clients_push_where_uploads_go_elsewhere",
        ],
    ),
    (
        47,
        "a mount needs the right to pull the source, and is else an upload",
        &[
            "mends::mounts::a_source_that_may_not_be_read_is_an_upload",
            "mends::mounts::what_only_regseal_has_is_mounted_for_who_may_read_it",
            "bypass::a_mount_brings_nothing_that_its_caller_may_not_pull",
        ],
    ),
    (
        48,
        "an upload that is cancelled is 204",
        &["uploads::sessions::every_way_to_upload_ends_in_a_blob_that_can_be_read_at_once"],
    ),
    (
        49,
        "a blob is there as soon as its upload is answered",
        &["uploads::sessions::every_way_to_upload_ends_in_a_blob_that_can_be_read_at_once"],
    ),
];

const AUTHORISATION: &[Requirement] = &[
    (
        50,
        "challenges are relayed with realm, service and scope",
        &[
            "authorisation::requests::challenges_are_relayed_as_they_are",
            "relay::every_challenge_names_the_relay_and_is_else_as_the_registry_made_it",
        ],
    ),
    (
        51,
        "what regseal answers itself the registry has allowed this caller",
        &[
            "authorisation::decisions::what_is_not_a_clear_yes_is_none",
            "bypass::nothing_is_read_without_the_right_to_pull",
            "lifecycle::without_the_registry_behind_nothing_is_given_out",
        ],
    ),
    (
        52,
        "no right in one repository opens another, on any way",
        &[
            "walk::passwords_and_masks",
            "walk::passwords_and_refusals",
            "walk::tokens_and_masks",
            "walk::tokens_and_refusals",
            "bypass::a_digest_opens_no_other_repository",
        ],
    ),
    (
        53,
        "signing needs the right to push, deleting that to delete",
        &[
            "bypass::who_may_only_pull_cannot_sign_or_delete",
            "authorisation::decisions::who_gives_no_name_reads_and_does_not_write",
            "gate::a_refused_deletion_deletes_nothing",
        ],
    ),
    (
        54,
        "only a yes is remembered, for its caller alone and never beyond its end",
        &[
            "authorisation::decisions::a_right_that_was_taken_away_ends_on_every_path",
            "authorisation::decisions::many_who_ask_at_once_cost_one_question",
            "bypass::a_token_that_has_ended_opens_nothing",
        ],
    ),
    (
        55,
        "a credential goes to no other host and into no log",
        &[
            "uploads::foreign::a_storage_host_gets_bytes_and_no_credential",
            "reads::redirects::a_redirect_is_followed_without_the_credential",
            "authorisation::tokens::a_wrapper_is_good_for_nothing_else",
            "doctor::care::a_credential_is_shown_to_the_registry_it_is_for_and_to_no_other",
            "lifecycle::logs_and_metrics_tell_no_secret",
        ],
    ),
    (
        56,
        "paths that are not of the specification pass as they are",
        &["authorisation::requests::token_services_below_the_api_are_reached_as_they_are"],
    ),
    (
        57,
        "a client's `ns` names no host that regseal talks to",
        &[
            "reads::mirror::a_mirror_says_whose_it_is",
            "reads::mirror::containerd_fetches_from_regseal_as_a_mirror",
        ],
    ),
];

const LIFECYCLE: &[Requirement] = &[
    (
        58,
        "a deleted manifest is gone from lists at once; a missing one is 404",
        &[
            "referrers::a_deleted_referrer_is_gone_until_it_is_pushed_again",
            "referrers_tags::a_referrer_that_the_registry_does_not_let_go_stays",
        ],
    ),
    (
        59,
        "the referrers of a deleted subject stay or go as configured",
        &[
            "referrers::the_referrers_of_a_deleted_subject_are_kept",
            "collection::signatures_of_a_deleted_image_stay_or_go_as_configured",
        ],
    ),
    (
        60,
        "what the registry collects takes no signature away",
        &["durability::a_collector_behind_takes_no_signature_away"],
    ),
    (
        61,
        "a collector beside pushes takes nothing that is linked",
        &["collection::a_collector_takes_nothing_from_those_who_push_meanwhile"],
    ),
    (
        62,
        "an index that is lost changes no answer",
        &[
            "durability::a_lost_or_broken_index_changes_no_answer",
            "failures::redis_forgets_everything",
            "failures::redis_comes_back_with_an_old_dump",
        ],
    ),
];

const HYGIENE: &[Requirement] = &[
    (
        63,
        "paths that can be read in two ways are refused, and names may have components of the API",
        &[
            "disguise::a_disguised_path_is_refused",
            "reads::needless_words_of_a_path_name_the_fault_and_go_nowhere",
            "reads::words_of_the_api_may_be_names_and_colons_may_be_escaped",
            "tls::http2::what_is_refused_over_one_version_is_refused_over_the_other",
        ],
    ),
    (
        64,
        "errors are the specification's, limits of the registry are relayed, outages are 502 to 504",
        &[
            "faults::every_kind_of_request_survives_every_fault",
            "faults::refusals_of_a_busy_registry_reach_the_client",
            "faults::failures_of_the_registry_are_no_answers",
            "authorisation::decisions::who_has_to_wait_is_not_asked_about",
        ],
    ),
    (
        65,
        "an answer that breaks off never looks whole",
        &[
            "reads::broken::what_breaks_off_never_looks_whole",
            "faults::half_an_answer_is_never_a_whole_one",
        ],
    ),
    (
        66,
        "tag lists have pages in the order of bytes",
        &[
            "mends::tag_lists::pages_are_in_the_order_of_bytes",
            "mends::tag_lists::a_list_of_nothing_is_a_list",
            "mends::tag_lists::pages_are_stable_beside_writers",
        ],
    ),
    (
        67,
        "links of lists stay on regseal",
        &["reads::the_catalog_goes_on_at_regseal"],
    ),
    (68, "the conformance suite finds no fault", &["conformance"]),
    (
        69,
        "each program works as it is",
        &[
            "clients::images::docker_with_tokens",
            "clients::images::containerd_with_tokens",
            "clients::images::podman_with_tokens",
            "clients::images::buildah_with_tokens",
            "clients::images::skopeo_with_tokens",
            "clients::images::skopeo_copies_between_registries",
            "clients::images::crane_with_tokens",
            "clients::artifacts::oras_with_tokens",
            "clients::artifacts::oras_takes_the_referrers_of_what_it_copies_and_backs_up",
            "clients::artifacts::regctl_with_tokens",
            "clients::artifacts::regctl_imports_what_it_has_exported",
            "clients::artifacts::helm_3_pushes_and_pulls_charts",
            "clients::artifacts::helm_4_pushes_and_pulls_charts",
            "clients::signers::notation_with_tokens",
            "clients::signers::cosign_2_with_tokens",
            "clients::signers::cosign_3_with_tokens",
            "authorisation::programs::all_programs_work_where_the_token_service_is_on_another_host",
        ],
    ),
];

const ALL: [&[Requirement]; 8] = [
    REFERRERS,
    PUSHES,
    COMPANION_TAGS,
    READS,
    UPLOADS,
    AUTHORISATION,
    LIFECYCLE,
    HYGIENE,
];

#[test]
fn every_requirement_has_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let is_there = |test: &str| {
        if test == "conformance" {
            return root.join("conformance/run.sh").exists();
        }
        let (module, name) = test.rsplit_once("::").unwrap();
        let file = root.join("it").join(module.replace("::", "/"));
        let text = [file.with_extension("rs"), file.join("mod.rs")]
            .iter()
            .find_map(|file| std::fs::read_to_string(file).ok());
        text.is_some_and(|text| text.contains(&format!("#[test]\nfn {name}()")))
    };
    let requirements = || ALL.into_iter().flatten();
    let numbers: Vec<usize> = requirements().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, Vec::from_iter(1..=69), "none is left out");
    for (number, what, tests) in requirements() {
        assert!(!tests.is_empty(), "{number}: {what}: by nothing");
        for test in *tests {
            assert!(is_there(test), "{number}: {what}: there is no test {test}");
        }
    }
}
