//! Error conditions: the specification's (part 2, sections 2.8.15–2.8.18) and Service Bus's.

use crate::value::Symbol;

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        $($(#[$doc])* pub const $name: Symbol = Symbol::from_static($text);)+
    };
}

conditions! {
    /// The peer's own fault.
    INTERNAL_ERROR = "amqp:internal-error",
    /// Nothing has that name or address.
    NOT_FOUND = "amqp:not-found",
    /// No claim allows it.
    UNAUTHORIZED_ACCESS = "amqp:unauthorized-access",
    /// Bytes could not be decoded.
    DECODE_ERROR = "amqp:decode-error",
    /// A quota or limit is used up.
    RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded",
    /// The request contradicts the state or the entity's settings.
    NOT_ALLOWED = "amqp:not-allowed",
    /// A field has a value that is not allowed.
    INVALID_FIELD = "amqp:invalid-field",
    /// The feature does not exist.
    NOT_IMPLEMENTED = "amqp:not-implemented",
    /// Someone else holds the resource.
    RESOURCE_LOCKED = "amqp:resource-locked",
    /// The request needs something that did not happen.
    PRECONDITION_FAILED = "amqp:precondition-failed",
    /// The node was deleted.
    RESOURCE_DELETED = "amqp:resource-deleted",
    /// A frame in a state that does not allow it.
    ILLEGAL_STATE = "amqp:illegal-state",
    /// A frame that does not fit the negotiated size.
    FRAME_SIZE_TOO_SMALL = "amqp:frame-size-too-small",
    /// Closed by an operator, or for being idle.
    CONNECTION_FORCED = "amqp:connection:forced",
    /// Bytes that are not a frame.
    FRAMING_ERROR = "amqp:connection:framing-error",
    /// Talk to another host.
    CONNECTION_REDIRECT = "amqp:connection:redirect",
    /// More transfers than the window allows.
    WINDOW_VIOLATION = "amqp:session:window-violation",
    /// A frame for a link that is gone in error.
    ERRANT_LINK = "amqp:session:errant-link",
    /// An attach with a handle that is in use.
    HANDLE_IN_USE = "amqp:session:handle-in-use",
    /// A frame with a handle that no link has.
    UNATTACHED_HANDLE = "amqp:session:unattached-handle",
    /// Detached by an operator, or because the entity went away for a time.
    DETACH_FORCED = "amqp:link:detach-forced",
    /// More deliveries than the credit allows.
    TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded",
    /// A message above the link's limit.
    MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded",
    /// Attach to another address.
    LINK_REDIRECT = "amqp:link:redirect",
    /// Another attachment has taken the link over.
    LINK_STOLEN = "amqp:link:stolen",
    /// Service Bus: not done in time.
    TIMEOUT = "com.microsoft:timeout",
    /// Service Bus: the token is not accepted.
    AUTH_FAILED = "com.microsoft:auth-failed",
    /// Service Bus: the lock on the message has ended.
    MESSAGE_LOCK_LOST = "com.microsoft:message-lock-lost",
    /// Service Bus: the lock on the session has ended.
    SESSION_LOCK_LOST = "com.microsoft:session-lock-lost",
    /// Service Bus: another receiver holds the session.
    SESSION_CANNOT_BE_LOCKED = "com.microsoft:session-cannot-be-locked",
    /// Service Bus: no message has that sequence number.
    MESSAGE_NOT_FOUND = "com.microsoft:message-not-found",
    /// Service Bus: no such session.
    SESSION_NOT_FOUND = "com.microsoft:session-not-found",
    /// Service Bus: come back in some seconds.
    SERVER_BUSY = "com.microsoft:server-busy",
    /// Service Bus: an argument is wrong.
    ARGUMENT_ERROR = "com.microsoft:argument-error",
    /// Service Bus: an argument is outside its range.
    ARGUMENT_OUT_OF_RANGE = "com.microsoft:argument-out-of-range",
    /// Service Bus: the entity is switched off.
    ENTITY_DISABLED = "com.microsoft:entity-disabled",
    /// Service Bus: the name is taken.
    ENTITY_ALREADY_EXISTS = "com.microsoft:entity-already-exists",
    /// Service Bus: the operation was cancelled.
    OPERATION_CANCELLED = "com.microsoft:operation-cancelled",
    /// Service Bus: the condition by which a client's `rejected` asks for dead-lettering.
    DEAD_LETTER = "com.microsoft:dead-letter",
}
