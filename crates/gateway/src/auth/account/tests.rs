use super::*;
use crate::auth::key::Scope;
use tokio::time::advance;

fn grant(limits: Limits) -> (tempfile::TempDir, Grant) {
    let folder = tempfile::tempdir().unwrap();
    let (key, _) = Key::new("k", &[Scope::Inference], limits, (0, None)).unwrap();
    let account = Arc::new(Account::open(folder.path().join("used")));
    (folder, Grant::new(Arc::new(key), account))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(future)
}

#[test]
fn requests_of_a_minute_come_back_evenly() {
    let (_folder, grant) = grant(Limits { requests_per_minute: Some(6), ..Limits::default() });
    run(async {
        (0..6).for_each(|_| grant.enter().unwrap());
        let error = grant.enter().unwrap_err();
        assert_eq!((error.code, error.retry_after), (Code::RateLimited, Some(10)));
        // Asking in between gains and loses nothing.
        for _ in 0..9999 {
            advance(Duration::from_millis(1)).await;
            grant.enter().unwrap_err();
        }
        advance(Duration::from_millis(1)).await;
        grant.enter().unwrap();
        grant.enter().unwrap_err();
    });
}

#[test]
fn tokens_that_an_answer_owes_are_waited_for() {
    let (_folder, grant) = grant(Limits { tokens_per_minute: Some(60), ..Limits::default() });
    run(async {
        grant.begin().unwrap().count(180);
        let error = grant.begin().unwrap_err();
        assert_eq!((error.code, error.retry_after), (Code::RateLimited, Some(121)));
        advance(Duration::from_secs(121)).await;
        drop(grant.begin().unwrap());
    });
}

#[test]
fn answers_at_once_and_tokens_of_a_day_are_bounded() {
    let limits = Limits { at_once: Some(2), tokens_per_day: Some(10), ..Limits::default() };
    let (folder, grant) = grant(limits);
    let (first, second) = (grant.begin().unwrap(), grant.begin().unwrap());
    assert_eq!(grant.begin().unwrap_err().code, Code::RateLimited);
    second.count(10);
    drop((first, second));
    let error = grant.begin().unwrap_err();
    assert!(error.retry_after.is_some_and(|wait| u64::from(wait) <= DAY), "{error:?}");
    // A restart forgets nothing of it.
    let again = Account::open(folder.path().join("used"));
    assert_eq!(again.used(), (10, 0));
    assert_eq!(again.lock().today(seconds() + DAY), 0, "the next day is another");
}

#[test]
fn what_is_spent_and_claimed_never_passes_the_cap() {
    let (folder, grant) = grant(Limits { spend: Some(100), ..Limits::default() });
    let bill = Bill::default();
    bill.pay(20);
    bill.charge(grant.claim(60).unwrap());
    assert_eq!(grant.claim(41).unwrap_err().code, Code::SpendingCap);
    drop(grant.claim(40).unwrap());
    bill.pay(30);
    assert_eq!(Account::open(folder.path().join("used")).used(), (0, 50), "on the disk at once");
    drop(bill);
    let error = grant.claim(51).unwrap_err();
    assert!(error.public.contains("0.00005 of its 0.0001"), "{}", error.public);
    let bill = Bill::default();
    bill.charge(grant.claim(50).unwrap());
    bill.pay(50);
    drop(bill);
    assert_eq!(grant.claim(0).unwrap_err().code, Code::SpendingCap, "all is spent");
}
