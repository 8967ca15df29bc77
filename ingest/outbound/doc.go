// Package outbound calls the services that an operator names: the webhook, which
// hears of edited documents, and the service that has the first states of new ones.
//
// What must hold:
//
//   - A name of the public net is never dialled at a private address, and no
//     redirect is followed.
//   - Neither a URL nor a secret reaches a log or an error.
//   - Note never waits: an edit is not slowed by a webhook.
//
// Goroutines: a Webhook has a few, from Start to Close. A Loader and a Client have
// none.
package outbound
