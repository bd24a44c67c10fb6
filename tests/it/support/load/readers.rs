//! Clients that list the signatures of the subjects, through any replica.

use std::time::Duration;

use super::client::{Client, Way};

pub fn turn(client: &mut Client) {
    let subjects = client.ledger.book().subjects.len();
    if subjects > 0 {
        // The youngest are written to; the older ones are to stay as they are.
        let youngest = subjects.saturating_sub(4);
        let subject = if client.chance.percent(85) {
            youngest + client.chance.below(subjects - youngest)
        } else {
            client.chance.below(subjects)
        };
        let way = *client.chance.one_of(&[
            Way::Api,
            Way::Api,
            Way::Api,
            Way::CosignTag,
            Way::FallbackTag,
        ]);
        let replica = client.any_replica();
        client.list(subject, way, replica);
    }
    let pause = client
        .chance
        .between(Duration::ZERO, Duration::from_millis(30));
    std::thread::sleep(pause);
}
