//! `openapi.json` says what is served, no more and no less.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use gateway::router::{Gateway, OPENAPI, Options, paths, router};
use serde_json::Value;
use tower::ServiceExt;

use crate::world::{Script, get, read, run};

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn document_names_every_path_that_is_served() {
    let document = document();
    let mut described: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let mut served = paths();
    described.sort();
    served.sort();
    assert_eq!(described, served.iter().collect::<Vec<&String>>());
}

#[test]
fn document_names_every_method_that_a_path_takes() {
    let document = document();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete", "put", "patch"] {
            let request = Request::builder().method(method.to_uppercase().as_str());
            let request = request.uri(path.replace("{id}", "none")).body(Body::empty()).unwrap();
            let gateway = Gateway::new(Arc::new(Script::new(&[])), &Options::default());
            let status = run(router(gateway).oneshot(request)).unwrap().status().as_u16();
            assert_eq!(
                operations.get(method).is_some(),
                status != 405,
                "{method} {path}: {status}"
            );
        }
    }
}

#[test]
fn document_refers_to_what_is_in_it() {
    let document = document();
    let mut values = vec![&document];
    let mut count = 0;
    while let Some(value) = values.pop() {
        if let Some(reference) = value.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} is not there");
            count += 1;
        }
        values.extend(value.as_object().into_iter().flat_map(|fields| fields.values()));
        values.extend(value.as_array().into_iter().flatten());
    }
    assert!(count > 20, "{count} references");
}

#[test]
fn document_is_served() {
    let gateway = Gateway::new(Arc::new(Script::new(&[])), &Options::default());
    let (status, headers, body) =
        run(async { read(router(gateway).oneshot(get("/openapi.json")).await.unwrap()).await });
    let kind = headers["content-type"].to_str().unwrap();
    assert_eq!((status.as_u16(), kind, body.as_str()), (200, "application/json", OPENAPI));
}

#[test]
fn path_that_is_no_text_is_an_error_like_others() {
    let gateway = Gateway::new(Arc::new(Script::new(&[])), &Options::default());
    let request = get("/v1/models/%ff");
    let (status, _, body) =
        run(async { read(router(gateway).oneshot(request).await.unwrap()).await });
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status.as_u16(), body["error"].as_object().unwrap().len()), (404, 4), "{body}");
}
