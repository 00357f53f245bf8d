//! Files that are left here, and batches of requests in them.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use gateway::archive::{Archive, Settings};
use gateway::auth::key::{Key, Limits, Scope};
use gateway::auth::ring::Ring;
use gateway::batches::work::work;
use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use store::cid::Cid;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::world::{CHAT, HI_STREAM, Line, Script, get, post, read, run};

const FORM: &str = "multipart/form-data; boundary=edge";

/// A field of a form, and what it says.
type Field<'a> = (&'a str, &'a str);

/// A gateway that keeps files in a folder of its own.
struct Place {
    folder: TempDir,
    router: Router,
    /// The API key that goes with what is asked.
    key: Option<String>,
}

impl Place {
    /// Must be made within a runtime, which works on its batches.
    fn new(script: Script, change: impl FnOnce(&mut Settings)) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let router = serve(script, folder.path(), change);
        Place { folder, router, key: None }
    }

    /// One whose API has keys.
    fn with_keys(script: Script, keys: Options) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let router = serve_with(script, folder.path(), |_| {}, keys);
        Place { folder, router, key: None }
    }

    async fn ask(&self, request: Request<Body>) -> (u16, Value) {
        let (status, body) = self.text(request).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn text(&self, mut request: Request<Body>) -> (u16, String) {
        if let Some(key) = &self.key {
            request.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
        let (status, _, body) = read(self.router.clone().oneshot(request).await.unwrap()).await;
        (status.as_u16(), body)
    }

    async fn upload(&self, fields: &[Field<'_>]) -> (u16, Value) {
        self.ask(form(fields)).await
    }

    /// A batch of these lines, which was taken.
    async fn batch(&self, lines: &str) -> Value {
        let (_, file) = self.upload(&[("purpose", "batch"), ("file", lines)]).await;
        let body = json!({
            "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "1h",
            "metadata": {"of": "a test"},
        });
        let (status, batch) = self.ask(post("/v1/batches", &body.to_string())).await;
        assert_eq!((status, &batch["status"]), (200, &json!("validating")), "{batch}");
        batch
    }

    /// The batch once it has this status.
    async fn wait(&self, batch: &Value, status: &str) -> Value {
        loop {
            let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
            let (_, batch) = self.ask(get(&path)).await;
            if batch["status"] == status {
                return batch;
            }
            let ended = ["failed", "completed", "expired", "cancelled"];
            assert!(!ended.contains(&batch["status"].as_str().unwrap()), "{batch}");
            tokio::task::yield_now().await;
        }
    }

    /// The lines of a batch's results.
    async fn results(&self, batch: &Value, kind: &str) -> Vec<Value> {
        let Some(id) = batch[format!("{kind}_file_id")].as_str() else { return Vec::new() };
        let (status, text) = self.text(get(&format!("/v1/files/{id}/content"))).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(batch[format!("{kind}_cid")], Cid::of(text.as_bytes()).to_string());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn serve(script: Script, folder: &Path, change: impl FnOnce(&mut Settings)) -> Router {
    serve_with(script, folder, change, Options::default())
}

fn serve_with(
    script: Script,
    folder: &Path,
    change: impl FnOnce(&mut Settings),
    options: Options,
) -> Router {
    let mut settings = Settings {
        directory: folder.to_path_buf(),
        file_size_max: 1 << 20,
        size_max: 1 << 20,
        count_max: 100,
        lines_at_once: 1,
    };
    change(&mut settings);
    let archive = Some(Arc::new(Archive::open(&settings).unwrap()));
    let gateway = Gateway::new(Arc::new(script), &Options { archive, ..options });
    tokio::spawn(work(Arc::clone(&gateway)));
    router(gateway)
}

fn form(fields: &[Field<'_>]) -> Request<Body> {
    let part = |(name, text): &Field<'_>| {
        let file = if *name == "file" { "; filename=\"of.jsonl\"" } else { "" };
        format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
    };
    let body = fields.iter().map(part).collect::<String>() + "--edge--\r\n";
    let request = Request::builder().method("POST").uri("/v1/files");
    request.header("content-type", FORM).body(Body::from(body)).unwrap()
}

fn line(id: &str, body: &Value) -> String {
    let url = "/v1/completions";
    json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string() + "\n"
}

fn completion(id: &str) -> String {
    line(id, &json!({"model": "tiny", "prompt": "a", "seed": 1}))
}

fn answered(text: &'static str) -> Vec<Line> {
    vec![Line::Prompt(0), Line::Text(text), Line::End]
}

/// Names of all files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_batch_counts_for_its_key_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ring = Arc::new(Ring::of(folder.path().into()));
    let limits = Limits { tokens_per_day: Some(1000), ..Limits::default() };
    let scopes = [Scope::Files, Scope::Batches];
    let (key, secret) = Key::new("batches", &scopes, limits, (0, None)).unwrap();
    let change = |revoked| {
        let key = Key { revoked, ..key.clone() };
        ring.change(|keys| {
            *keys = vec![key];
            Ok::<_, std::io::Error>(())
        })
        .unwrap();
    };
    change(None);
    let script = Script::new(&[&answered("x"), &[Line::Hang]]);
    let api_keys = vec!["master".to_owned()];
    let options = Options { api_keys, ring: Some(Arc::clone(&ring)), ..Options::default() };
    run(async {
        let mut place = Place::with_keys(script, options);
        place.key = Some(secret.clone());
        let batch = place.batch(&completion("one")).await;
        assert!(batch.get("key").is_none(), "{batch}");
        let batch = place.wait(&batch, "completed").await;
        assert_eq!(place.results(&batch, "output").await.len(), 1);
        // A token of the prompt, one of the answer, and its end; written with the answer's end.
        while ring.used(&key) != (3, 0) {
            tokio::task::yield_now().await;
        }
        // While somebody waits for an answer, the next batch does not begin.
        let mut urgent = post(CHAT, HI_STREAM);
        urgent.headers_mut().insert("x-api-key", "master".parse().unwrap());
        let urgent = place.router.clone().oneshot(urgent).await.unwrap();
        let batch = place.batch(&completion("two")).await;
        change(Some(1));
        place.key = Some("master".to_owned());
        drop(urgent);
        let batch = place.wait(&batch, "completed").await;
        let refused = place.results(&batch, "error").await;
        let error = &refused[0]["response"]["body"]["error"];
        assert_eq!(error["code"], "invalid_api_key", "{refused:?}");
    });
}

#[test]
fn files_are_kept_listed_in_pages_read_and_forgotten() {
    run(async {
        let place = Place::new(Script::new(&[]), |_| {});
        let mut ids = Vec::new();
        for number in 0..5 {
            let purpose = if number == 0 { "assistants" } else { "batch" };
            let text = format!("file {number}\r\n--edg\r\n");
            let (status, file) = place.upload(&[("file", &text), ("purpose", purpose)]).await;
            assert_eq!((status, &file["filename"]), (200, &json!("of.jsonl")), "{file}");
            assert_eq!((&file["bytes"], &file["expires_at"]), (&json!(text.len()), &json!(null)));
            assert_eq!(file["cid"], Cid::of(text.as_bytes()).to_string());
            let id = file["id"].as_str().unwrap().to_owned();
            let (_, found) = place.ask(get(&format!("/v1/files/{id}"))).await;
            assert_eq!(found, file);
            let (_, content) = place.text(get(&format!("/v1/files/{id}/content"))).await;
            assert_eq!(content, text);
            ids.push(id);
        }
        let (_, page) = place.ask(get("/v1/files?limit=2&order=asc&purpose=batch")).await;
        assert_eq!((&page["data"][0]["id"], &page["last_id"]), (&json!(ids[1]), &json!(ids[2])));
        assert_eq!(page["has_more"], true);
        let path = format!("/v1/files?order=asc&after={}", ids[2]);
        let (_, page) = place.ask(get(&path)).await;
        assert_eq!((&page["first_id"], &page["last_id"]), (&json!(ids[3]), &json!(ids[4])));
        let (_, page) = place.ask(get("/v1/files")).await;
        assert_eq!((&page["first_id"], &page["has_more"]), (&json!(ids[4]), &json!(false)));

        // Another process finds what is there, and takes away what is not whole.
        let folder = place.folder.path().join("files");
        std::fs::write(folder.join("file-half.part"), "half").unwrap();
        std::fs::write(folder.join("file-bare"), "bare").unwrap();
        let again = Place { router: serve(Script::new(&[]), place.folder.path(), |_| {}), ..place };
        let (_, list) = again.ask(get("/v1/files")).await;
        assert_eq!(list, page);
        for id in &ids {
            let delete = Request::builder().method("DELETE").uri(format!("/v1/files/{id}"));
            let (status, _) = again.ask(delete.body(Body::empty()).unwrap()).await;
            let (gone, _) = again.ask(get(&format!("/v1/files/{id}/content"))).await;
            assert_eq!((status, gone), (200, 404));
        }
        assert_eq!(names(&folder), Vec::<String>::new());
    });
}

#[test]
fn files_that_are_refused_leave_nothing() {
    run(async {
        let place = Place::new(Script::new(&[]), |settings| {
            (settings.file_size_max, settings.size_max, settings.count_max) = (1000, 1500, 2);
        });
        let [large, fits, long] = [1001, 1000, 1025].map(|count| "x".repeat(count));
        let cases: [(&[Field<'_>], u16, &str); 9] = [
            (&[("file", "x")], 400, "purpose"),
            (&[("purpose", "batch")], 400, "file"),
            (&[("purpose", "other"), ("file", "x")], 400, "purpose"),
            (&[("purpose", "batch"), ("file", "x"), ("colour", "red")], 400, "colour"),
            (&[("purpose", "batch"), ("file", "x"), ("file", "x")], 400, "twice"),
            (&[("purpose", "batch"), ("file", &large)], 413, "files_mib"),
            (&[("purpose", &long), ("file", "x")], 413, "field"),
            (
                &[("purpose", "batch"), ("file", "x"), ("expires_after[seconds]", "60")],
                400,
                "expires_after[seconds]",
            ),
            (
                &[("purpose", "batch"), ("file", "x"), ("expires_after[anchor]", "created_at")],
                400,
                "expires_after[seconds]",
            ),
        ];
        for (fields, wanted, word) in cases {
            let (status, error) = place.upload(fields).await;
            assert_eq!(status, wanted, "{error}");
            assert!(error["error"].to_string().contains(word), "{error}");
        }
        let (status, error) = place.ask(post("/v1/files", "{}")).await;
        assert_eq!((status, &error["error"]["code"]), (415, &json!("unsupported_media_type")));
        let torn = Request::builder().method("POST").uri("/v1/files").header("content-type", FORM);
        let (status, error) = place.ask(torn.body(Body::from("--edge\r\n")).unwrap()).await;
        assert_eq!((status, &error["error"]["code"]), (400, &json!("invalid_multipart")));
        let mut foreign = form(&[("purpose", "batch"), ("file", "x")]);
        foreign.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
        let (status, error) = place.ask(foreign).await;
        assert_eq!((status, &error["error"]["code"]), (403, &json!("forbidden")));
        assert_eq!(names(&place.folder.path().join("files")), Vec::<String>::new());

        let (status, kept) = place.upload(&[("purpose", "batch"), ("file", &fits)]).await;
        assert_eq!(status, 200, "{kept}");
        let (status, error) = place.upload(&[("purpose", "batch"), ("file", &fits)]).await;
        assert_eq!((status, &error["error"]["code"]), (413, &json!("storage_full")), "{error}");
        assert_eq!(place.upload(&[("purpose", "batch"), ("file", "x")]).await.0, 200);
        let (status, error) = place.upload(&[("purpose", "batch"), ("file", "x")]).await;
        assert_eq!((status, &error["error"]["code"]), (413, &json!("storage_full")), "{error}");
        assert_eq!(names(&place.folder.path().join("files")).len(), 4);
    });
}

#[test]
fn a_batch_tells_answers_and_errors_apart_and_names_its_results() {
    run(async {
        let jobs = [answered("one"), answered("three")];
        let place = Place::new(Script::new(&jobs.each_ref().map(Vec::as_slice)), |_| {});
        let wrong = line("2", &json!({"model": "tiny", "prompt": "a", "colour": "red"}));
        let stream = line("4", &json!({"model": "tiny", "prompt": "a", "stream": true}));
        let lines = [completion("1"), wrong, "\n".to_owned(), completion("3"), stream].concat();
        let batch = place.batch(&lines).await;
        let batch = place.wait(&batch, "completed").await;
        assert_eq!(batch["request_counts"], json!({"total": 4, "completed": 2, "failed": 2}));
        assert_eq!(batch["metadata"], json!({"of": "a test"}));
        let output = place.results(&batch, "output").await;
        let told: Vec<_> = output
            .iter()
            .map(|it| (&it["custom_id"], &it["response"]["body"]["choices"][0]["text"]))
            .collect();
        assert_eq!(told, [(&json!("1"), &json!("one")), (&json!("3"), &json!("three"))]);
        let errors = place.results(&batch, "error").await;
        for (error, (id, param)) in errors.iter().zip([("2", "colour"), ("4", "stream")]) {
            assert_eq!((&error["custom_id"], &error["error"]), (&json!(id), &json!(null)));
            assert_eq!(error["response"]["status_code"], 400);
            assert_eq!(error["response"]["body"]["error"]["param"], param);
        }
        assert_eq!(errors.len(), 2);
        // What the answering needed is gone; what a client may ask for is not.
        let id = batch["id"].as_str().unwrap();
        assert_eq!(names(&place.folder.path().join("batches").join(id)), ["batch.json"]);
        let (status, error) = place.ask(post(&format!("/v1/batches/{id}/cancel"), "")).await;
        assert_eq!((status, &error["error"]["code"]), (400, &json!("invalid_value")));
        let (_, list) = place.ask(get("/v1/batches?limit=1")).await;
        assert_eq!((&list["data"][0], &list["has_more"]), (&batch, &json!(false)));
    });
}

#[test]
fn a_file_with_a_wrong_line_is_not_begun() {
    run(async {
        let place = Place::new(Script::new(&[]), |_| {});
        let other =
            json!({"custom_id": "2", "method": "GET", "url": "/v1/completions", "body": {}});
        let path = json!({"custom_id": "3", "method": "POST", "url": "/v1/models", "body": {}});
        let bare = json!({"custom_id": "4", "method": "POST", "url": "/v1/completions"});
        let lines = [
            completion("1"),
            completion("1"),
            "{\n".to_owned(),
            format!("{other}\n{path}\n{bare}\n"),
            completion(""),
        ];
        let batch = place.batch(&lines.concat()).await;
        let batch = place.wait(&batch, "failed").await;
        let problems = batch["errors"]["data"].as_array().unwrap().iter();
        let told: Vec<_> = problems.map(|it| (it["line"].as_u64(), &it["code"])).collect();
        let codes = [
            "duplicate_custom_id",
            "invalid_json_line",
            "invalid_method",
            "mismatched_url",
            "missing_required_parameter",
            "invalid_custom_id",
        ];
        let codes = codes.map(|code| json!(code));
        let wanted: Vec<_> = (2..).map(Some).zip(&codes).collect();
        assert_eq!(told, wanted, "{batch}");
        let empty = place.batch("\n").await;
        let empty = place.wait(&empty, "failed").await;
        assert_eq!(empty["errors"]["data"][0]["code"], "empty_file");
    });
}

#[test]
fn a_batch_that_is_cancelled_or_late_says_so_of_each_request_that_is_left() {
    for (status, code) in [("cancelled", "batch_cancelled"), ("expired", "batch_expired")] {
        run(async {
            let jobs = [answered("one"), vec![Line::Prompt(0), Line::Hang]];
            let place = Place::new(Script::new(&jobs.each_ref().map(Vec::as_slice)), |_| {});
            let lines = [completion("1"), completion("2"), completion("3")].concat();
            let batch = place.batch(&lines).await;
            let id = batch["id"].as_str().unwrap().to_owned();
            let mut now = place.wait(&batch, "in_progress").await;
            while now["request_counts"]["completed"] == 0 {
                tokio::task::yield_now().await;
                now = place.wait(&batch, "in_progress").await;
            }
            if status == "cancelled" {
                for _ in 0..2 {
                    let (code, batch) =
                        place.ask(post(&format!("/v1/batches/{id}/cancel"), "")).await;
                    assert_eq!(code, 200, "{batch}");
                }
            } else {
                tokio::time::advance(std::time::Duration::from_secs(2 * 3600)).await;
            }
            let batch = loop {
                let (_, batch) = place.ask(get(&format!("/v1/batches/{id}"))).await;
                if batch["status"] == status {
                    break batch;
                }
                assert_ne!(batch["status"], "completed", "{batch}");
                tokio::task::yield_now().await;
            };
            assert_eq!(batch["request_counts"], json!({"total": 3, "completed": 1, "failed": 2}));
            assert_eq!(place.results(&batch, "output").await[0]["custom_id"], "1");
            let errors = place.results(&batch, "error").await;
            let told: Vec<_> =
                errors.iter().map(|it| (&it["custom_id"], &it["error"]["code"])).collect();
            let code = json!(code);
            assert_eq!(told, [(&json!("2"), &code), (&json!("3"), &code)]);
        });
    }
}

#[test]
fn a_batch_need_not_wait_for_others_to_be_cancelled() {
    run(async {
        let hanging: &[Line] = &[Line::Prompt(0), Line::Hang];
        let place = Place::new(Script::new(&[hanging]), |_| {});
        let first = place.batch(&completion("1")).await;
        place.wait(&first, "in_progress").await;
        let second = place.batch(&completion("1")).await;
        let path = format!("/v1/batches/{}/cancel", second["id"].as_str().unwrap());
        assert_eq!(place.ask(post(&path, "")).await.1["status"], "cancelling");
        let second = place.wait(&second, "cancelled").await;
        assert_eq!(second["request_counts"], json!({"total": 1, "completed": 0, "failed": 1}));
        assert_eq!(place.wait(&first, "in_progress").await["request_counts"]["failed"], 0);
    });
}

#[test]
fn batches_that_cannot_be_are_refused_by_name() {
    run(async {
        let place = Place::new(Script::new(&[]), |_| {});
        let (_, file) = place.upload(&[("purpose", "batch"), ("file", "x")]).await;
        let (_, other) = place.upload(&[("purpose", "vision"), ("file", "x")]).await;
        let good = json!({
            "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h",
        });
        let cases = [
            ("input_file_id", json!("file-none"), 404, "input_file_id"),
            ("input_file_id", other["id"].clone(), 400, "input_file_id"),
            ("endpoint", json!("/v1/models"), 400, "endpoint"),
            ("completion_window", json!("1d"), 400, "completion_window"),
            ("completion_window", json!("169h"), 400, "completion_window"),
            ("metadata", json!({"a": 1}), 400, "metadata"),
            ("metadata", json!({"a": "b".repeat(513)}), 400, "metadata"),
            ("colour", json!("red"), 400, "colour"),
        ];
        for (field, value, wanted, param) in cases {
            let mut body = good.clone();
            body[field] = value;
            let (status, error) = place.ask(post("/v1/batches", &body.to_string())).await;
            assert_eq!((status, &error["error"]["param"]), (wanted, &json!(param)), "{error}");
        }
        let (status, error) = place.ask(get("/v1/batches/batch_none")).await;
        assert_eq!((status, &error["error"]["code"]), (404, &json!("batch_not_found")));
        let bare = Gateway::new(Arc::new(Script::new(&[])), &Options::default());
        let answer = router(bare).oneshot(get("/v1/files")).await.unwrap();
        assert_eq!(answer.status().as_u16(), 404);
    });
}
