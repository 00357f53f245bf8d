//! Chat completions that are kept.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{CHAT, Line, Script, get, post, read, run};

async fn ask(router: &Router, request: Request<Body>) -> (u16, Value) {
    let (status, _, body) = read(router.clone().oneshot(request).await.unwrap()).await;
    (status.as_u16(), serde_json::from_str(&body).unwrap())
}

fn body(fields: &Value) -> String {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "a"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

#[test]
fn a_completion_is_kept_if_asked_and_found_by_its_labels() {
    let texts = ["one", "two", "three"];
    let jobs = texts.map(|text| vec![Line::Prompt(0), Line::Text(text), Line::End]);
    let script = Script::new(&jobs.each_ref().map(Vec::as_slice));
    let router = router(Gateway::new(Arc::new(script), &Options::default()));
    run(async {
        let kept = body(&json!({"store": true, "metadata": {"of": "one"}}));
        let (_, whole) = ask(&router, post(CHAT, &kept)).await;
        let other = body(&json!({"metadata": {"of": "one"}}));
        let (_, other) = ask(&router, post(CHAT, &other)).await;
        let streamed = body(&json!({"store": true, "stream": true, "metadata": {"of": "two"}}));
        let response = router.clone().oneshot(post(CHAT, &streamed)).await.unwrap();
        assert!(read(response).await.2.ends_with("data: [DONE]\n\n"));

        let (_, list) = ask(&router, get(CHAT)).await;
        let data = list["data"].as_array().unwrap();
        let told: Vec<_> = data
            .iter()
            .map(|it| it["choices"][0]["message"]["content"].as_str().unwrap())
            .collect();
        assert_eq!(told, ["one", "three"], "{list}");
        assert_eq!((&data[0]["id"], &data[0]["usage"]), (&whole["id"], &whole["usage"]));
        assert_eq!(data[1]["object"], "chat.completion");
        let path = format!("{CHAT}?metadata[of]=two&model=tiny&limit=1");
        let (_, list) = ask(&router, get(&path)).await;
        assert_eq!((&list["first_id"], &list["has_more"]), (&data[1]["id"], &json!(false)));
        let id = whole["id"].as_str().unwrap();
        let path = format!("{CHAT}/{id}");
        let (_, messages) = ask(&router, get(&format!("{path}/messages"))).await;
        let asked = json!({"id": format!("{id}-0"), "role": "user", "content": "a"});
        assert_eq!(messages["data"], json!([asked]));
        let (_, updated) = ask(&router, post(&path, r#"{"metadata": {"of": "me"}}"#)).await;
        assert_eq!(updated["metadata"], json!({"of": "me"}));
        assert_eq!(ask(&router, get(&path)).await.1, updated);
        assert_eq!(ask(&router, post(&path, r#"{"colour": "red"}"#)).await.0, 400);
        let delete = || Request::builder().method("DELETE").uri(&path).body(Body::empty()).unwrap();
        let (_, deleted) = ask(&router, delete()).await;
        assert_eq!(deleted["deleted"], true);
        let (status, error) = ask(&router, delete()).await;
        assert_eq!((status, &error["error"]["code"]), (404, &json!("completion_not_found")));
        let other = format!("{CHAT}/{}", other["id"].as_str().unwrap());
        assert_eq!(ask(&router, get(&other)).await.0, 404);
    });
}
