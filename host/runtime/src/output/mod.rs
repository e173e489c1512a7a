//! What a function's outputs send.
//!
//! Messages leave after the handler has answered and before the message that triggered the call is
//! completed. So nothing is lost: when the broker does not take one, the invocation fails, and the
//! trigger's message comes again. What had been sent by then is sent again, too (at least once, as
//! in the real host); who needs it once sends from the handler, with ids of its own.

mod messages;

use base64_simd::STANDARD;
use nightshift_bindings::invocation::response::Response;

use crate::app::ServiceBusOutput;
use crate::call::{Caller, Failure};
use messages::messages;

impl Caller {
    /// Sends what `response` has for each of `outputs`, and returns when the brokers have it all.
    /// The first failure ends it.
    pub(crate) async fn send_outputs(
        &self,
        outputs: &[ServiceBusOutput],
        response: &Response,
    ) -> Result<(), Failure> {
        for output in outputs {
            let Some(value) = response.output(&output.name) else {
                continue;
            };
            let messages = messages(value, output.data_type, self.mode()).map_err(|what| {
                let name = output.name.clone();
                Failure::Output { name, what }
            })?;
            if messages.is_empty() {
                continue;
            }
            let sender = self.bus.sender(&output.connection, &output.entity).await;
            let sent = match sender {
                Ok(sender) => sender.send_messages(messages).await,
                Err(error) => Err(error),
            };
            sent.map_err(|source| Failure::Send {
                name: output.name.clone(),
                entity: output.entity.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// What `text` stands for if it is base64; .NET skips white space.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let is_digit = |char: &char| !matches!(char, ' ' | '\t' | '\r' | '\n');
    let digits: String = text.chars().filter(is_digit).collect();
    STANDARD.decode_to_vec(digits).ok()
}
