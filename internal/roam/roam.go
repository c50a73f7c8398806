// Package roam is a device of pion's virtual network that comes into other networks while it is used: for tests, and the bench. It is made with [New],
// and put into a vnet.Router, where nothing of it has to be closed.
package roam

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/vnet"
)

// Card is the device's network card. All methods may be called from any goroutine; of vnet's own card those that tell interfaces may not, while it moves.
type Card struct {
	*vnet.Net

	mu sync.Mutex
	ip net.IP
}

// New makes a card with an IPv4 address.
func New(ip string) (*Card, error) {
	n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}})
	if err != nil {
		return nil, fmt.Errorf("a network card with the address %q: %w", ip, err)
	}
	return &Card{Net: n, ip: net.ParseIP(ip)}, nil
}

// Move gives the card another address in place of the one it has.
func (c *Card) Move(ip string) error {
	to := net.ParseIP(ip)
	if to == nil {
		return fmt.Errorf("%q is no address", ip)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := errors.Join(c.RemoveAddress(name, c.ip), c.AddAddress(name, network(to))); err != nil {
		return err
	}
	c.ip = to
	return nil
}

// Interfaces returns the card as it is now. It is the caller's.
func (c *Card) Interfaces() ([]*transport.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := transport.NewInterface(net.Interface{Index: 1, MTU: 1500, Name: name, Flags: net.FlagUp | net.FlagMulticast})
	i.AddAddress(network(c.ip))
	return []*transport.Interface{i}, nil
}

// name is what vnet calls its cards.
const name = "eth0"

func network(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip.To4(), Mask: net.CIDRMask(16, 32)} }
