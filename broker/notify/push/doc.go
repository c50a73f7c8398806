// Package push brings notifications to devices: Web Push, UnifiedPush, FCM, APNs and signed webhooks.
//
// Start with [New], which makes the senders that a configuration allows. Endpoints that users name are called
// through a [Guard], which connects to public addresses only, whatever a name resolves to at that moment, and
// follows no redirect. Hosts that the operator configures (FCM, APNs) are trusted.
//
// What goes over the wire to Web Push, UnifiedPush and webhooks is one JSON object, see [Payload]. Errors never
// hold an endpoint, a token or a body.
package push
