package plain

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// parity gives the even sessions to one user, the odd ones to another; those above 90 are nobody's. A
// session that ended is no longer the user's.
type parity struct {
	ended map[uint64]bool
	fail  error
}

func (p *parity) UserOf(sid uint64) (string, error) {
	if sid > 90 {
		return "", nil
	}
	return []string{"even", "odd"}[sid%2], nil
}

func (p *parity) SessionsOf(user string) (sids []uint64, err error) {
	for sid := uint64(1); sid <= 8; sid++ {
		if u, _ := p.UserOf(sid); u == user && !p.ended[sid] {
			sids = append(sids, sid)
		}
	}
	return sids, p.fail
}

func TestUserLimit(t *testing.T) {
	m := &Message{Topic: "m1", QoS: 1, Payload: []byte(strings.Repeat("x", 100))}
	size := int64(len(AppendMessage(nil, m)))
	q := newQueueTest(t, Limits{UserBytes: 3 * size})
	users := &parity{ended: map[uint64]bool{}}
	q.q.LimitUsers(users)
	require.Equal(t, 1, q.put(1, m, 1, 2, 3, 4, 5, 7), "the fourth of the odd ones, in one message")
	q.commit()
	require.Equal(t, 1, q.put(2, m, 2, 1, 99), "the other user and nobody have room")
	require.Equal(t, 0, q.put(3, m, 99, 100))
	q.commit()
	require.True(t, q.release(5, 1))
	require.Equal(t, 0, q.put(4, m, 7), "an acknowledgement makes room in the same batch")
	require.Equal(t, 1, q.put(5, m, 7))
	q.commit()

	q.q.SetLimits(Limits{UserBytes: 4 * size})
	require.Equal(t, 0, q.put(6, m, 7))
	q.q.Seal(&q.b)
	q.q.Aborted() // what it charged is forgotten too
	q.b.Ops = nil
	require.Equal(t, 0, q.put(6, m, 7))
	require.Equal(t, 1, q.put(7, m, 7))
	q.commit()

	users.ended[7] = true
	done, err := q.q.End(&q.b, 7, 100)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, 0, q.put(8, m, 1, 3))
	require.Equal(t, 1, q.put(9, m, 3))
	q.commit()

	again := NewQueue(q.r, Limits{UserBytes: 4 * size}, 16) // after a restart
	again.LimitUsers(users)
	stored, dropped, err := again.Put(&q.b, 10, m, []Target{{SID: 3, QoS: 1}, {SID: 2, QoS: 1}})
	require.NoError(t, err)
	require.Equal(t, 1, dropped)
	require.Equal(t, uint64(2), stored[0].SID)

	users.fail = errors.New("the store fails")
	failing := NewQueue(q.r, Limits{UserBytes: size}, 16)
	failing.LimitUsers(users)
	_, _, err = failing.Put(&q.b, 11, m, []Target{{SID: 3, QoS: 1}})
	require.ErrorIs(t, err, users.fail)
}

// What is remembered of a user is what waits for their sessions, whatever happens.
func TestUserTotalsAgainstUsage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRecords()
		q := NewQueue(r, Limits{UserBytes: 2000, Messages: 6}, 6) // it remembers hardly anything
		q.LimitUsers(&parity{ended: map[uint64]bool{}})
		tt := &queueTest{t: new(testing.T), r: r, q: q}
		next := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				sids := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 8), 1, 8, rapid.ID[uint64]).Draw(t, "sids")
				targets := make([]Target, len(sids))
				for i, sid := range sids {
					targets[i] = Target{SID: sid, QoS: 1}
				}
				m := msg(next)
				m.Payload = make([]byte, rapid.IntRange(0, 300).Draw(t, "size"))
				_, _, err := q.Put(&tt.b, next, m, targets)
				require.NoError(t, err)
				next++
			},
			"release": func(t *rapid.T) {
				_, err := q.Release(&tt.b, rapid.Uint64Range(1, 8).Draw(t, "sid"), rapid.Uint64Range(1, next).Draw(t, "n"))
				require.NoError(t, err)
			},
			"commit": func(*rapid.T) { tt.commit() },
			"abort":  func(*rapid.T) { q.Seal(&tt.b); q.Aborted(); tt.b.Ops = nil },
			"": func(t *rapid.T) {
				for _, user := range []string{"even", "odd"} {
					want, err := q.count(user)
					require.NoError(t, err)
					if got, known := q.totals.get(user); known {
						require.Equal(t, want, got, user)
					}
					require.LessOrEqual(t, want, int64(2000))
				}
			},
		})
	})
}
