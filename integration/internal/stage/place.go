package stage

import (
	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/integration/internal/role"
)

// reach finds or starts what the processes work on.
func (s *Stage) reach() {
	s.t.Helper()
	if s.Place == nil {
		s.Place = &Place{Machine: s.Flavour.StartMachine(s.t, append([]string{"--requirepass", s.password}, s.Redis...)...)}
	} else {
		s.password = "" // nobody gave it one
	}
	s.Machine, s.Direct = s.Place.Machine, s.Place.Direct
	if s.Direct == nil {
		s.Direct = redis.NewClient(&redis.Options{Addr: s.Machine.Address(), Password: s.password})
		s.t.Cleanup(func() { _ = s.Direct.Close() })
	}
}

// connect tells a process where Redis is. Where that is one server, the process gets a link of its own.
func (s *Stage) connect(spec *role.Spec) *Link {
	s.t.Helper()
	spec.Master, spec.Cluster, spec.CA = s.Place.Master, s.Place.Cluster, s.Place.CA
	if s.Machine == nil {
		spec.Addrs = s.Place.Addrs
		return nil
	}
	upstream := s.Machine.Address()
	if s.Between != nil {
		upstream = s.Between(spec.Process, upstream)
	}
	link := newLink(s.t, spec.Process, upstream)
	spec.Addrs = []string{link.Addr()}
	return link
}
