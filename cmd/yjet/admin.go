package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminHandler serves pages for operators alone: metrics, and profiles where they are enabled.
func adminHandler(metrics *prometheus.Registry, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// onThisMachine refuses requests under a name that DNS could resolve, where the address is one that only this machine reaches: otherwise a
// stranger's page could have its own name resolve to 127.0.0.1 and read the answers. Elsewhere operators name the address as they like.
func onThisMachine(own bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if own && !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this address answers only to localhost, 127.0.0.1 and [::1]", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// startAdmin listens on --admin-addr, if there is one.
func startAdmin(c *config, metrics *prometheus.Registry, log *slog.Logger, down *stack, failed chan<- error) error {
	if c.adminAddr == "" || c.adminAddr == "off" {
		return nil
	}
	l, err := net.Listen("tcp", c.adminAddr)
	if err != nil {
		return fmt.Errorf("--admin-addr: %w; choose another, or 'off'", err)
	}
	own := l.Addr().(*net.TCPAddr).IP.IsLoopback()
	s := &http.Server{Handler: onThisMachine(own, adminHandler(metrics, c.pprof)), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	down.add(func() { s.Close() })
	log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	return nil
}
