//! The route parser: every request pays for it.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Method, Uri};
use regseal::route::Route;

const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for (name, path) in [
        ("tag", "/v2/library/alpine/manifests/3.22".to_owned()),
        (
            "digest",
            format!("/v2/team/project/service/manifests/{DIGEST}"),
        ),
        ("blob", format!("/v2/team/project/service/blobs/{DIGEST}")),
        (
            "referrers",
            format!("/v2/team/project/service/referrers/{DIGEST}"),
        ),
        ("refused", "/v2/team/../project/manifests/latest".to_owned()),
    ] {
        let uri: Uri = path.parse().expect("a valid path");
        group.bench_function(name, |bencher| {
            bencher.iter(|| Route::parse(black_box(&Method::GET), black_box(&uri)));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
