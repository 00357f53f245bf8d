use serde_json::json;

use super::{Kept, Responses};
use crate::limits::{RESPONSES_MAX, RESPONSES_SIZE_MAX};

fn kept(size: usize) -> Kept {
    Kept { response: json!({}), items: Vec::new(), messages: Vec::new(), size }
}

#[test]
fn oldest_go_first_and_what_is_removed_is_gone() {
    let responses = Responses::default();
    for number in 0..=RESPONSES_MAX {
        responses.keep(&number.to_string(), kept(1));
    }
    assert!(responses.get("0").is_none() && responses.get("1").is_some());
    assert!(responses.remove("1").is_some() && responses.remove("1").is_none());
    responses.keep("half", kept(RESPONSES_SIZE_MAX / 2));
    responses.keep("rest", kept(RESPONSES_SIZE_MAX / 2));
    assert!(responses.get("2").is_none() && responses.get("half").is_some());
    responses.keep("too large", kept(RESPONSES_SIZE_MAX + 1));
    assert!(responses.get("too large").is_none() && responses.get("rest").is_none());
    assert_eq!(responses.0.lock().unwrap().size, 0);
}
