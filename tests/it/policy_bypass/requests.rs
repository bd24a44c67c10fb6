//! Requests that are written in another way than clients do.

use super::{Case, OPEN, PROD, Theatre, World, is};
use crate::support::images::{ACCEPT, MANIFEST};
use crate::support::raw::{self, Connection};
use crate::support::{BOB, Content, Reply};

const CASES: &[Case] = &[
    Case("B-126", "two slashes in front", |world| {
        path(world, |name| format!("//v2/{name}/manifests/v1"))
    }),
    Case("B-127", "two slashes within", |world| {
        path(world, |name| format!("/v2/{name}//manifests/v1"))
    }),
    Case("B-128", "two slashes behind the verb", |world| {
        path(world, |name| format!("/v2/{name}/manifests//v1"))
    }),
    Case("B-129", "a segment of one dot", |world| {
        path(world, |name| format!("/v2/./{name}/manifests/v1"))
    }),
    Case(
        "B-130",
        "a way around through an open repository",
        |world| {
            path(world, |name| {
                format!("/v2/open/app/../../{name}/manifests/v1")
            })
        },
    ),
    Case("B-131", "the same way, with its dots encoded", |world| {
        path(world, |name| {
            format!("/v2/open/app/%2e%2e/%2E%2e/{name}/manifests/v1")
        })
    }),
    Case("B-132", "the same way, behind a verb", |world| {
        path(world, |name| {
            format!("/v2/open/app/manifests/../../../{name}/manifests/v1")
        })
    }),
    Case("B-133", "an encoded letter in the tag", |world| {
        path(world, |name| format!("/v2/{name}/manifests/%761"))
    }),
    Case("B-134", "an encoded letter in the verb", |world| {
        path(world, |name| format!("/v2/{name}/%6danifests/v1"))
    }),
    Case("B-135", "an encoded letter in the name", |world| {
        path(world, |name| {
            format!("/v2/{}/manifests/v1", name.replacen("prod", "%70rod", 1))
        })
    }),
    Case("B-136", "an encoded slash in the name", |world| {
        path(world, |name| {
            format!("/v2/{}/manifests/v1", name.replacen('/', "%2F", 1))
        })
    }),
    Case("B-137", "an encoded colon in the digest", |world| {
        let image = pushed(world);
        let path = format!("/v2/{}/manifests/{}", world.name(PROD), image.digest());
        is(
            &ask(world, &path.replacen("sha256:", "sha256%3A", 1)),
            &image,
        )
    }),
    Case(
        "B-138",
        "the name of another registry in the query",
        |world| {
            path(world, |name| {
                format!("/v2/{name}/manifests/v1?ns=registry.example.com")
            })
        },
    ),
    Case("B-139", "an open repository in the query", |world| {
        path(world, |name| {
            format!("/v2/{name}/manifests/v1?name=open/app&repository=open/app")
        })
    }),
    Case("B-140", "another host in the target", |world| {
        path(world, |name| {
            format!("http://registry.example.com/v2/{name}/manifests/v1")
        })
    }),
    Case(
        "B-141",
        "an open repository in headers of proxies",
        |world| {
            headers(
                world,
                "X-Original-URL: /v2/open/app/manifests/v1\r\nX-Rewrite-URL: /v2/open/app/manifests/v1\r\nX-Forwarded-Uri: /v2/open/app/manifests/v1\r\n",
            )
        },
    ),
    Case("B-142", "another host", |world| {
        let image = pushed(world);
        let token = token(world);
        let reply = send(
            world,
            &format!(
                "GET /v2/{}/manifests/v1 HTTP/1.1\r\nHost: registry.example.com\r\n{token}Accept: {MANIFEST}\r\nConnection: close\r\n\r\n",
                world.name(PROD),
            ),
        );
        is(&reply, &image)
    }),
    Case("B-143", "HTTP 1.0", |world| {
        let image = pushed(world);
        let token = token(world);
        let reply = send(
            world,
            &format!(
                "GET /v2/{}/manifests/v1 HTTP/1.0\r\nHost: registry\r\n{token}Accept: {MANIFEST}\r\n\r\n",
                world.name(PROD),
            ),
        );
        is(&reply, &image)
    }),
    Case("B-144", "a GET with a body", |world| {
        let image = pushed(world);
        let victim = world.victim(PROD);
        let path = victim.path("manifests/v1");
        let reply = victim.http.request("GET", &path, &[ACCEPT], "a body");
        is(&world.saw(reply), &image)
    }),
    Case("B-145", "a method in a header", |world| {
        headers(
            world,
            "X-HTTP-Method-Override: HEAD\r\nX-HTTP-Method: HEAD\r\n",
        )
    }),
    Case("B-146", "an upgrade of the protocol", |world| {
        headers(world, "Connection: Upgrade\r\nUpgrade: websocket\r\n")
    }),
    Case("B-147", "a body that is encoded", |world| {
        headers(world, "Accept-Encoding: gzip, br, zstd\r\n")
    }),
    Case("B-148", "the name of a program that signs", |world| {
        headers(world, "User-Agent: cosign/v3.0.2 (linux; amd64)\r\n")
    }),
    Case(
        "B-149",
        "headers that the connection is said to end",
        |world| headers(world, "Connection: Authorization, Accept\r\n"),
    ),
    Case(
        "B-150",
        "an unsigned image behind a signed one on one connection",
        |world| {
            let image = pushed(world);
            let attacker = world.attacker(PROD);
            world.admitted(&attacker, "signed");
            let token = token(world);
            let ask = |tag: &str| {
                format!(
                    "GET /v2/{}/manifests/{tag} HTTP/1.1\r\nHost: registry\r\n{token}Accept: {MANIFEST}\r\n\r\n",
                    world.name(PROD),
                )
            };
            let mut connection = Connection::to(&world.endpoint().authority);
            connection.send(format!("{}{}", ask("signed"), ask("v1")));
            let first = connection.receive();
            assert_eq!(first.status, 200, "{first:?}");
            is(&world.saw(connection.receive()), &image)
        },
    ),
    Case(
        "B-151",
        "a tag that is pushed with its letter encoded",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            let path = attacker.path("manifests/%761");
            attacker.http.request(
                "PUT",
                &path,
                &[("Content-Type", MANIFEST)],
                image.bytes.clone(),
            );
            world.pulls(PROD, "v1", &image)
        },
    ),
    Case(
        "B-152",
        "a tag that is pushed through an open repository",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            let path = format!("/v2/{OPEN}/app/../../{}/manifests/v1", attacker.name);
            let put = |path: &str| {
                attacker.http.request(
                    "PUT",
                    path,
                    &[("Content-Type", MANIFEST)],
                    image.bytes.clone(),
                )
            };
            let reply = put(&path);
            // The bare registry names the clean path, which clients then take.
            if reply.status == 301 {
                put(reply.header("location"));
            }
            world.pulls(PROD, "v1", &image)
        },
    ),
];

#[test]
fn no_request_is_read_in_another_way_behind() {
    Theatre::open().run(CASES);
}

/// An unsigned image that the registry has under `v1`.
fn pushed(world: &World<'_>) -> Content {
    let behind = world.behind(PROD);
    let image = world.unsigned(&behind);
    behind.put_manifest("v1", &image).expect(201);
    image
}

fn path(world: &World<'_>, disguise: fn(&str) -> String) -> bool {
    let image = pushed(world);
    is(&ask(world, &disguise(&world.name(PROD))), &image)
}

fn headers(world: &World<'_>, headers: &str) -> bool {
    let image = pushed(world);
    let path = format!("/v2/{}/manifests/v1", world.name(PROD));
    is(&ask_with(world, &path, headers), &image)
}

fn ask(world: &World<'_>, path: &str) -> Reply {
    ask_with(world, path, "")
}

/// Asks for a path as it stands, and follows to where the registry sends.
fn ask_with(world: &World<'_>, path: &str, headers: &str) -> Reply {
    let authority = &world.endpoint().authority;
    let headers = format!("{}Accept: {MANIFEST}\r\n{headers}", token(world));
    let reply = world.saw(raw::get(authority, path, &headers));
    if [301, 307, 308].contains(&reply.status) {
        let to = reply.header("location").to_owned();
        return world.saw(raw::get(authority, &to, &headers));
    }
    reply
}

fn send(world: &World<'_>, request: &str) -> Reply {
    let mut connection = Connection::to(&world.endpoint().authority);
    connection.send(request);
    world.saw(connection.receive())
}

fn token(world: &World<'_>) -> String {
    let issuer = world.theatre.registry.tokens().issuer();
    let scope = format!("repository:{}:pull", world.name(PROD));
    format!(
        "Authorization: Bearer {}\r\n",
        issuer.token(Some(BOB.name), &[scope.as_str()])
    )
}
