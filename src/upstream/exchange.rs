//! From a query to its answer: what a plugin sees of this module.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::buf::Buf;
use super::error::Error;
use super::race::Race;
use super::{Group, Transport, Upstream, message, metrics};

/// A reply and where it is from.
#[derive(Debug)]
pub struct Answer {
    /// The reply as it was received, with the ID of the query.
    pub message: Buf,
    /// Its RCODE, with the upper bits of an OPT record.
    pub rcode: u16,
    /// How it came.
    pub transport: Transport,
    /// Time from the attempt that brought it to its arrival.
    pub took: Duration,
    pub(super) upstream: Arc<Upstream>,
}

impl Answer {
    /// The upstream that answered.
    pub fn upstream(&self) -> SocketAddr {
        self.upstream.addr
    }

    /// The upstream that answered, as metrics and logs name it.
    pub fn upstream_name(&self) -> &str {
        &self.upstream.name
    }

    /// Whether this is NOERROR without a single answer record.
    pub fn is_nodata(&self) -> bool {
        self.rcode == 0 && self.message.get(6..8) == Some(&[0, 0])
    }
}

impl Group {
    /// Asks the upstreams what `query` asks, on behalf of a client that came over `client`.
    ///
    /// `query` is sent as it is, but for its ID. Dropping the future gives up the query and
    /// frees all that it held. Must run inside a `tokio::task::LocalSet`.
    ///
    /// # Errors
    ///
    /// See [`Error`]; [`Error::Failed`] is what the last upstream said.
    pub async fn exchange(
        self: &Arc<Self>,
        query: Buf,
        client: Transport,
    ) -> Result<Answer, Error> {
        let no_question = Error::InvalidRequest("no question");
        let (Some(question), Some(&id)) = (message::question(&query), query.first_chunk::<2>())
        else {
            return Err(no_question);
        };
        let _slot = self.admit()?;
        let mut race = Race::new(self, query, question, client);
        let mut answer = race.run().await?;
        if let Some(theirs) = answer.message.first_chunk_mut() {
            *theirs = id;
        }
        Ok(answer)
    }

    fn admit(&self) -> Result<Slot<'_>, Error> {
        let limit = self.options.max_concurrent;
        if limit == 0 {
            return Ok(Slot(None));
        }
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Some(self));
        if before >= limit {
            metrics::count_rejected();
            return Err(Error::TooManyQueries(limit));
        }
        Ok(slot)
    }
}

/// A query counted in `max_concurrent`.
struct Slot<'a>(Option<&'a Group>);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            group.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
