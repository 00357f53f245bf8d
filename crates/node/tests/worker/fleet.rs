//! What a client's own pace does to the work.

use engine::request::Output;
use gateway::backend::{Backend as _, Job, Seeding, Urgency};

use crate::machine::{LONG, Machine, request};

/// More outputs than may wait for a client: half of this would be too many.
const AHEAD: usize = 300;

/// Takes what is there already.
fn catch_up(job: &mut Job, tokens: &mut Vec<u32>) -> bool {
    let mut ended = false;
    while let Some(output) = job.try_next() {
        match output.unwrap() {
            Output::Token { token, .. } => tokens.push(token),
            Output::Finished(_) => ended = true,
            Output::Prompt { .. } => {}
        }
    }
    ended
}

#[test]
fn a_client_that_reads_nothing_holds_no_worker_and_reads_the_same_answer_later() {
    let machine = Machine::new(&[]);
    let whole = machine.undisturbed();
    let fleet = machine.fleet();
    let served = machine.worker().served().clone();
    // One thread: nothing is computed for a client while this test counts what it has.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut job =
            fleet.submit(&served, request(LONG), Seeding::Fixed, Urgency::Now).await.unwrap();
        let (mut tokens, mut rounds, mut ended) = (Vec::new(), 0, false);
        while !ended {
            let mut load = machine.worker().load();
            load.wait_for(|load| load.own == 0).await.unwrap();
            let before = tokens.len();
            ended = catch_up(&mut job, &mut tokens);
            let ahead = tokens.len() - before;
            assert!(ahead < AHEAD, "{ahead} outputs waited for a client that read none");
            rounds += 1;
            if !ended && ahead == 0 {
                // It goes on now that there is room.
                match job.next().await.unwrap().unwrap() {
                    Output::Token { token, .. } => tokens.push(token),
                    Output::Finished(_) => ended = true,
                    Output::Prompt { .. } => {}
                }
            }
        }
        assert_eq!(tokens, whole);
        assert!(rounds > 4, "{rounds}");
    });
}
