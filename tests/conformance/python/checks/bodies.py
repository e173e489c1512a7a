"""Bodies: every byte comes back, whatever the kind of body and its size."""

from azure.servicebus import ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage

from . import body, client, equal, receive

QUEUE = "bodies"


def round_trips(connection_string, messages):
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            for message in messages:
                sender.send_messages(message)
        with bus.get_queue_receiver(QUEUE) as receiver:
            got = receive(receiver, len(messages))
            for message in got:
                receiver.complete_message(message)
            return got


def round_trip(connection_string, message):
    return round_trips(connection_string, [message])[0]


def identical_bytes(connection_string):
    """empty, binary and non-UTF-8 bodies come back byte for byte"""
    sent = [b"", b"\x00", bytes(range(256)), b"\xff\xfe\xc3\x28", "{\"a\": \"ż\"}".encode()]
    got = round_trips(connection_string, [ServiceBusMessage(octets) for octets in sent])
    equal([body(message) for message in got], sent, "bodies")


def large_body(connection_string):
    """a body of 250 KiB, which takes several frames, comes back byte for byte"""
    sent = bytes(i * 31 % 251 for i in range(250 * 1024))
    assert body(round_trip(connection_string, ServiceBusMessage(sent))) == sent


def data_sections(connection_string):
    """a body of several data sections keeps them"""
    sent = AmqpAnnotatedMessage(data_body=[b"one", b"", b"three"])
    got = round_trip(connection_string, sent)
    equal(list(got.raw_amqp_message.body), [b"one", b"", b"three"], "sections")


def value_body(connection_string):
    """a body that is one AMQP value keeps its type"""
    got = round_trip(connection_string, AmqpAnnotatedMessage(value_body={b"key": [1, b"two", None]}))
    equal(got.raw_amqp_message.body_type.name, "VALUE", "kind")
    equal(got.raw_amqp_message.body, {b"key": [1, b"two", None]}, "value")


def sequence_body(connection_string):
    """a body of AMQP sequences keeps them"""
    got = round_trip(connection_string, AmqpAnnotatedMessage(sequence_body=[[1, b"a"], [2.5]]))
    equal(got.raw_amqp_message.body_type.name, "SEQUENCE", "kind")
    equal(list(got.raw_amqp_message.body), [[1, b"a"], [2.5]], "sequences")


def annotations_header_and_footer(connection_string):
    """header, annotations and footer of the sender come back"""
    got = round_trip(
        connection_string,
        AmqpAnnotatedMessage(
            data_body=b"x",
            header={"priority": 7, "durable": True},
            annotations={b"x-custom": b"mine"},
            footer={b"sum": b"123"},
        ),
    ).raw_amqp_message
    equal(got.header.priority, 7, "priority")
    equal(got.header.durable, True, "durable")
    equal(got.annotations[b"x-custom"], b"mine", "annotation")
    equal(got.footer, {b"sum": b"123"}, "footer")


CHECKS = [identical_bytes, large_body, data_sections, value_body, sequence_body, annotations_header_and_footer]
