//! Tells an observer what packets met.
//!
//! Invariant: whoever reads slowly loses what has no room in its queue, and is told how much that was.

use std::{io, sync::Arc, time::Duration};

use super::Desk;
use crate::{
    ask::PartyArgument,
    control::{Client, Observe, Sight},
    telemetry::observed::{Filter, Observed},
};

/// How often it is looked whether the observer is still there.
const LOOK: Duration = Duration::from_secs(1);

impl Desk {
    pub(super) fn observe(&self, wanted: Observe, client: &mut Client) -> io::Result<()> {
        let filter = match filter(&wanted) {
            Ok(filter) => filter,
            Err(why) => return client.refuse(why),
        };
        let say = |client: &mut Client, packets: Vec<Arc<Observed>>| {
            packets.into_iter().try_for_each(|packet| {
                client.say(&Sight::Packet(Box::new(Observed::clone(&packet))))
            })
        };
        if !wanted.follow {
            return say(client, self.observers.last(&filter, wanted.last));
        }
        let Some((last, observer)) = self.observers.observe(filter, wanted.last) else {
            return client.refuse("the agent has as many observers as it tells");
        };
        say(client, last)?;
        while !client.is_gone() {
            let (news, lost) = observer.news(LOOK);
            if lost > 0 {
                client.say(&Sight::Lost(lost))?;
            }
            say(client, news)?;
        }
        Ok(())
    }
}

fn filter(wanted: &Observe) -> Result<Filter, String> {
    let party = |text: &Option<String>| {
        let text = text.as_ref();
        let party = text.map(|text| {
            text.parse::<PartyArgument>()
                .map_err(|e| format!("{text:?}: {e}"))
        });
        party.transpose()
    };
    Ok(Filter {
        from: party(&wanted.from)?,
        to: party(&wanted.to)?,
        verdict: wanted.verdict,
        reason: wanted.reason.clone(),
    })
}
