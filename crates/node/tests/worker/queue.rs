//! Own requests first.

use node::worker::Class;

use crate::machine::{LONG, Machine, QUEUE};

#[test]
fn others_leave_places_in_the_queue_and_own_requests_overtake_them() {
    let machine = Machine::new(&[]);
    let whole = machine.undisturbed();
    let mut others: Vec<_> =
        (0..QUEUE / 2).map(|_| machine.submit(Class::Others, LONG).unwrap()).collect();
    let refused = machine.submit(Class::Others, 1).map(|_| ()).unwrap_err();
    assert_eq!((refused.code, refused.status()), ("busy", 429));
    let own: Vec<_> = (0..QUEUE / 2).map(|_| machine.submit(Class::Own, 10).unwrap()).collect();
    let refused = machine.submit(Class::Own, 1).map(|_| ()).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), ("busy", "the queue is full"));
    for answer in own {
        assert_eq!(answer.rest().unwrap(), whole[..10]);
    }
    for answer in &mut others {
        answer.catch_up();
        assert!(!answer.has_ended(), "another's answer ended before an own one");
    }
    for answer in others {
        assert_eq!(answer.rest().unwrap(), whole);
    }
}

#[test]
fn a_client_that_goes_while_its_answer_stands_still_frees_its_place() {
    let machine = Machine::new(&[]);
    let mut answer = machine.submit(Class::Others, LONG).unwrap();
    answer.begin();
    machine.sensor("sys/class/power_supply/BAT0/status", "Discharging\n");
    machine.look(crate::machine::NOW);
    drop(answer);
    machine.submit(Class::Own, 1).unwrap().rest().unwrap();
    machine.wait_until_idle();
}
