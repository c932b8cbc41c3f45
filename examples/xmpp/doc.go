// Program xmpp is a bot that answers chat messages, with workers that find the answers.
//
//	xmpp bot       holds the one XMPP connection: stores a task for each message, and sends the answers
//	xmpp worker    runs the tasks; start as many as you like, anywhere
//
// Both take REDIS_URL; the bot also XMPP_JID and XMPP_PASSWORD, and where DNS does not tell, XMPP_ADDR (host:port) and XMPP_CA (a PEM file).
//
// A long-lived connection feeds workers and is fed by them, and both ends may die at any moment:
//
//   - The server's archive (XEP-0313) is the list of what came in, a message on the wire only the hint to read on. The place in the archive and the
//     message go to Redis together, so that a message is taken once, also one that came while the bot was away.
//   - The task "answer" has the archive's ID of the message as its idempotency key, and so has "deliver", which carries the answer back:
//     storing one again, after a crash or a lost reply, does nothing.
//   - The bot is the worker of the queue of "deliver". It sends an answer when it is that sender's turn, and when it does not know whether
//     an earlier attempt arrived, it looks into the archive for an answer with this ID before it sends it again.
package main
