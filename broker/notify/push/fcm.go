package push

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/petrelchat/petrel/broker/notify"
	"github.com/petrelchat/petrel/internal/egress"
)

// fcm sends by Firebase Cloud Messaging's HTTP v1 interface.
type fcm struct {
	client  *http.Client
	account account
	key     *rsa.PrivateKey
	url     string
	now     func() time.Time

	mu      sync.Mutex // held while a token is fetched: all wait for the same
	token   string
	expires time.Time
}

var _ notify.Sender = (*fcm)(nil)

// account is what matters of a service account's JSON file.
type account struct {
	Type     string `json:"type"`
	Project  string `json:"project_id"`
	KeyID    string `json:"private_key_id"`
	Key      string `json:"private_key"`
	Email    string `json:"client_email"`
	TokenURI string `json:"token_uri"`
}

func newFCM(credentials []byte, endpoint string, client *http.Client, now func() time.Time) (*fcm, error) {
	f := &fcm{client: client, now: now}
	if err := json.Unmarshal(credentials, &f.account); err != nil {
		return nil, errors.New("the FCM credentials are no service account's JSON file")
	}
	a := &f.account
	if a.Type != "service_account" || a.Project == "" || a.Email == "" || a.TokenURI == "" {
		return nil, errors.New("the FCM credentials lack type service_account, project_id, client_email or token_uri")
	}
	var err error
	if f.key, err = jwt.ParseRSAPrivateKeyFromPEM([]byte(a.Key)); err != nil {
		return nil, errors.New("the FCM credentials have no RSA private_key")
	}
	f.url = strings.TrimSuffix(endpoint, "/") + "/v1/projects/" + url.PathEscape(a.Project) + "/messages:send"
	return f, nil
}

// fcmScope is what the token is for.
const fcmScope = "https://www.googleapis.com/auth/firebase.messaging"

// bearer returns an access token, by a signed assertion (RFC 7523 §2.1) when there is none that holds for another minute.
func (f *fcm) bearer(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if f.token != "" && now.Add(time.Minute).Before(f.expires) {
		return f.token, nil
	}
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": f.account.Email, "scope": fcmScope, "aud": f.account.TokenURI, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	t.Header["kid"] = f.account.KeyID
	assertion, err := t.SignedString(f.key)
	if err != nil {
		return "", err
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.account.TokenURI, strings.NewReader(form.Encode()))
	if err != nil {
		return "", errors.New("token_uri of the FCM credentials is no URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := f.client.Do(req)
	if err != nil {
		return "", &notify.Later{Err: bare(err)}
	}
	defer drain(res)
	var reply struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
	}
	if res.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(res.Body, replyMax)).Decode(&reply) != nil || reply.Token == "" {
		// What it is that the service account lacks may be put right: the notification waits.
		return "", &notify.Later{After: egress.RetryAfter(res.Header, now), Err: fmt.Errorf("getting an access token: %w", status(res.StatusCode))}
	}
	f.token, f.expires = reply.Token, now.Add(time.Duration(reply.Expires)*time.Second)
	return f.token, nil
}

// forget has a token that was not accepted replaced.
func (f *fcm) forget(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.token == token {
		f.token = ""
	}
}

type fcmMessage struct {
	Token        string            `json:"token"`
	Notification *fcmShown         `json:"notification,omitempty"`
	Data         map[string]string `json:"data"`
	Android      fcmAndroid        `json:"android"`
}

type fcmShown struct {
	Title string `json:"title,omitempty"`
	Body  string `json:"body"`
}

type fcmAndroid struct {
	Collapse string `json:"collapse_key"`
	Priority string `json:"priority"`
	TTL      string `json:"ttl"`
}

func (f *fcm) message(r *notify.Registration, n *notify.Notification) []byte {
	p := payload(n)
	data := map[string]string{"petrel": string(p.encode()), "id": n.ID, "about": n.About, "badge": strconv.FormatUint(n.Badge, 10)}
	m := fcmMessage{
		Token: r.Token, Notification: &fcmShown{Title: n.Title, Body: n.Line()}, Data: data,
		Android: fcmAndroid{Collapse: n.Topic, Priority: "NORMAL", TTL: strconv.Itoa(int(n.TTL/time.Second)) + "s"},
	}
	if n.Urgent {
		m.Android.Priority = "HIGH"
	}
	b, err := json.Marshal(map[string]any{"message": &m})
	if err != nil { // strings only
		panic("push: " + err.Error())
	}
	return b
}

// Send implements notify.Sender.
func (f *fcm) Send(ctx context.Context, r *notify.Registration, n *notify.Notification) error {
	token, err := f.bearer(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(f.message(r, n)))
	if err != nil {
		return errRefused
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := f.client.Do(req)
	if err != nil {
		return failed(err)
	}
	if res.StatusCode == http.StatusOK {
		drain(res)
		return nil
	}
	var reply struct {
		Error struct {
			Status  string `json:"status"`
			Details []struct {
				Code string `json:"errorCode"`
			} `json:"details"`
		} `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(res.Body, replyMax)).Decode(&reply) // without it the status has to do
	var code string
	for _, d := range reply.Error.Details {
		if d.Code != "" {
			code = d.Code
		}
	}
	switch {
	case code == "UNREGISTERED" || code == "SENDER_ID_MISMATCH":
		drain(res)
		return notify.ErrGone
	case res.StatusCode == http.StatusUnauthorized:
		f.forget(token)
		drain(res)
		return &notify.Later{Err: status(res.StatusCode)}
	case res.StatusCode == http.StatusNotFound: // of the project: UNREGISTERED says that it is the device
		drain(res)
		return fmt.Errorf("%w: %w", errRefused, status(res.StatusCode))
	}
	return judge(res, f.now())
}
