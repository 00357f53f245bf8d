//! What a node serves of its store, request by request.

use std::io::Cursor;

use store::blobs::Blobs;
use store::car;
use store::cid::{CHUNK_SIZE, Cid};
use store::directory::{self, Entry};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::server::{Fault, Place, random};

/// A file, and a directory in which it is called `a file`.
async fn world() -> (Place, String, Cid, Cid, Vec<u8>) {
    let bytes = random(2 * CHUNK_SIZE + 5, 3);
    let (place, file) = Place::with(&bytes);
    let entry = Entry { cid: file, total_size: 0 };
    let made = directory::make(&[(b"a file".to_vec(), entry)].into()).unwrap();
    place.blobs.put_node(&made.blocks[0].0, &made.blocks[0].1).unwrap();
    let url = place.serve(Fault::None).await.url();
    (place, url, file, made.entry.cid, bytes)
}

/// One request, with headers.
async fn get(url: String, headers: &[(&str, &str)]) -> (Response<()>, Vec<u8>) {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(move || request.call()).await
}

async fn read(
    call: impl FnOnce() -> Result<Response<Body>, ureq::Error> + Send + 'static,
) -> (Response<()>, Vec<u8>) {
    let asking = tokio::task::spawn_blocking(|| {
        let (head, mut body) = call().unwrap().into_parts();
        let bytes = body.with_config().limit(1 << 30).read_to_vec().unwrap();
        (Response::from_parts(head, ()), bytes)
    });
    asking.await.unwrap()
}

fn header<'a>(response: &'a Response<()>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_served_as_the_specification_says() {
    let (_place, url, file, _, bytes) = world().await;
    let leaf = Cid::of(&bytes[..CHUNK_SIZE]);
    let (by_query, block) = get(format!("{url}/ipfs/{leaf}?format=raw"), &[]).await;
    assert_eq!(block, &bytes[..CHUNK_SIZE]);
    let raw = [("accept", "application/vnd.ipld.raw")];
    let (by_header, block) = get(format!("{url}/ipfs/{leaf}"), &raw).await;
    assert_eq!(block, &bytes[..CHUNK_SIZE]);
    for response in [by_query, by_header] {
        assert_eq!(response.status(), StatusCode::OK);
        let expected = [
            ("content-type", "application/vnd.ipld.raw".to_owned()),
            ("content-disposition", format!("attachment; filename=\"{leaf}.bin\"")),
            ("content-length", CHUNK_SIZE.to_string()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("etag", format!("\"{leaf}.raw\"")),
            ("cache-control", "public, max-age=29030400, immutable".to_owned()),
            ("x-ipfs-path", format!("/ipfs/{leaf}")),
            ("x-ipfs-roots", leaf.to_string()),
        ];
        for (name, value) in expected {
            assert_eq!(header(&response, name), value, "{name}");
        }
    }
    let (_, root) = get(format!("{url}/ipfs/{file}?format=raw"), &[]).await;
    assert!(file.is_of(&root));
    let known = [("if-none-match", &*format!("W/\"x\", \"{leaf}.raw\""))];
    let (response, body) = get(format!("{url}/ipfs/{leaf}?format=raw"), &known).await;
    assert_eq!((response.status(), body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body() {
    let (_place, url, file, _, bytes) = world().await;
    for (query, size) in [("?format=raw", None), ("", Some(bytes.len())), ("?format=car", None)] {
        let url = format!("{url}/ipfs/{file}{query}");
        let (response, body) = read(move || ureq::head(url).call()).await;
        assert_eq!((response.status(), body.len()), (StatusCode::OK, 0));
        if let Some(size) = size {
            assert_eq!(header(&response, "content-length"), size.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_parts_of_them_are_served() {
    let (_place, url, file, folder, bytes) = world().await;
    let file = format!("{url}/ipfs/{file}");
    let (response, body) = get(file.clone(), &[]).await;
    assert_eq!((response.status(), &body), (StatusCode::OK, &bytes));
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    let (_, body) = get(format!("{url}/ipfs/{folder}/a%20file"), &[]).await;
    assert_eq!(body, bytes);
    let range = [("range", "bytes=1048570-1048579")];
    let (response, body) = get(file.clone(), &range).await;
    assert_eq!(
        (response.status(), &body[..]),
        (StatusCode::PARTIAL_CONTENT, &bytes[1_048_570..1_048_580])
    );
    let total = bytes.len();
    assert_eq!(header(&response, "content-range"), format!("bytes 1048570-1048579/{total}"));
    let (response, _) = get(file, &[("range", "bytes=9999999-")]).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&response, "content-range"), format!("bytes */{total}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_what_was_asked_for() {
    let (place, url, file, folder, bytes) = world().await;
    let (response, car) = get(format!("{url}/ipfs/{folder}?format=car"), &[]).await;
    let kind = "application/vnd.ipld.car; version=1; order=dfs; dups=n";
    assert_eq!(header(&response, "content-type"), kind);
    assert!(header(&response, "etag").starts_with(&format!("W/\"{folder}.car.")));
    let other = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(other.path()).unwrap();
    let imported = car::import(&blobs, &mut Cursor::new(&car), u64::MAX).unwrap();
    assert_eq!(imported.roots, [folder]);
    assert_eq!(std::fs::read(blobs.path(&file)).unwrap(), bytes);
    let index = store::index::Index::open(place.blobs.clone()).unwrap();
    let expected = |scope| {
        let mut car = Vec::new();
        car::export(&index, &file, &scope, &mut car).unwrap();
        car
    };
    use store::walk::Scope;
    let cases = [
        ("dag-scope=block", Scope::Block),
        ("dag-scope=entity", Scope::Entity(None)),
        ("entity-bytes=0:9", Scope::Entity(Some(0..10))),
        ("entity-bytes=-1:*", Scope::Entity(Some(bytes.len() as u64 - 1..bytes.len() as u64))),
    ];
    let mut tags = std::collections::BTreeSet::new();
    for (query, scope) in cases {
        let (response, car) = get(format!("{url}/ipfs/{file}?format=car&{query}"), &[]).await;
        assert!(car == expected(scope), "{query}");
        tags.insert(header(&response, "etag").to_owned());
    }
    assert_eq!(tags.len(), 4, "a tag for each answer");
    // With a path, the archive begins with the nodes on the way.
    let path = format!("{url}/ipfs/{folder}/a%20file?format=car&dag-scope=block");
    let (_, car) = get(path, &[]).await;
    let header_size = 1 + usize::from(car[0]);
    assert_eq!(&car[header_size + 1..header_size + 37], folder.to_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_refused_by_name() {
    let (_place, url, file, folder, _) = world().await;
    let absent = Cid::of(b"absent");
    let cases = [
        (format!("/ipfs/{absent}?format=raw"), 404),
        (format!("/ipfs/{absent}"), 404),
        (format!("/ipfs/{folder}/none"), 404),
        (format!("/ipfs/{folder}/.."), 404),
        (format!("/ipfs/{file}/x"), 404),
        ("/ipfs/nonsense".to_owned(), 400),
        (format!("/ipfs/{folder}/a%20file?format=raw"), 400),
        (format!("/ipfs/{file}?format=dag-json"), 406),
        (format!("/ipfs/{file}?format=car&car-version=2"), 406),
        (format!("/ipfs/{folder}"), 406),
    ];
    for (path, status) in cases {
        let (response, body) = get(format!("{url}{path}"), &[]).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert!(!body.is_empty(), "{path}");
    }
    let only = [("cache-control", "only-if-cached")];
    let (response, _) = get(format!("{url}/ipfs/{absent}?format=raw"), &only).await;
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    let (response, body) = get(format!("{url}/ipfs/bafkqaaa?format=raw"), &[]).await;
    assert_eq!((response.status(), body.len()), (StatusCode::OK, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_named_for_what_is_here() {
    let (_place, url, file, _, _) = world().await;
    let (response, body) = get(format!("{url}/routing/v1/providers/{file}"), &[]).await;
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let port = url.rsplit_once(':').unwrap().1;
    assert_eq!(value["Providers"][0]["Addrs"][0], format!("/ip4/127.0.0.1/tcp/{port}/http"));
    assert_eq!(value["Providers"][0]["Schema"], "peer");
    assert_eq!(header(&response, "cache-control"), "public, max-age=300");
    let lines = [("accept", "application/x-ndjson, application/json;q=0.8")];
    let absent = Cid::of(b"absent");
    let (response, body) = get(format!("{url}/routing/v1/providers/{absent}"), &lines).await;
    assert_eq!((response.status(), body.len()), (StatusCode::OK, 0));
    assert_eq!(header(&response, "content-type"), "application/x-ndjson");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ranges_and_names_are_answered_or_refused_and_the_node_lives_on() {
    let (_place, url, file, folder, bytes) = world().await;
    let whole = [
        "bytes=0-9,5-14,0-9".to_owned(),
        format!("bytes={}", vec!["0-"; 2000].join(",")),
        "bytes=18446744073709551616-".to_owned(),
        "bytes=9-3".to_owned(),
        "bytes=-".to_owned(),
        "nonsense".to_owned(),
    ];
    for range in whole {
        let (response, body) = get(format!("{url}/ipfs/{file}"), &[("range", &range)]).await;
        assert_eq!((response.status(), body.len()), (StatusCode::OK, bytes.len()), "{range:.40}");
    }
    let last = [("range", "bytes=-18446744073709551615")];
    let (response, body) = get(format!("{url}/ipfs/{file}"), &last).await;
    assert_eq!((response.status(), body.len()), (StatusCode::PARTIAL_CONTENT, bytes.len()));
    let queries = [
        "format=car&entity-bytes=9223372036854775807:-9223372036854775808",
        "format=car&entity-bytes=-9223372036854775808:9223372036854775807",
    ];
    for query in queries {
        let (response, _) = get(format!("{url}/ipfs/{file}?{query}"), &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{query}");
    }
    let refused = [
        format!("/ipfs/{file}?format=car&entity-bytes=0:9223372036854775808"),
        format!("/ipfs/{file}?format=car&entity-bytes=:"),
        "/ipfs/QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n".to_owned(),
        "/ipfs/bafkqabtimvwgy3yk?format=car".to_owned(),
        format!("/ipfs/{}", "b".repeat(50_000)),
        format!("/ipfs/{folder}/{}", "a/".repeat(100)),
        format!("/ipfs/{folder}/%2e%2e/%2e%2e/etc/passwd"),
        format!("/ipfs/{folder}/a%00file"),
        format!("/ipfs/{folder}/%ff%fe"),
        "/ipfs/..%2f..%2fetc%2fpasswd".to_owned(),
        format!("/routing/v1/providers/{}", "z".repeat(10_000)),
    ];
    for path in refused {
        let (response, _) = get(format!("{url}{path}"), &[]).await;
        let status = response.status();
        assert!(
            status.is_client_error() || status == StatusCode::UNPROCESSABLE_ENTITY,
            "{path:.60}: {status}"
        );
    }
    let (response, body) = get(format!("{url}/ipfs/{file}"), &[]).await;
    assert_eq!((response.status(), body), (StatusCode::OK, bytes));
}
