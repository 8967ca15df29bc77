package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
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

// startAdmin listens on --admin-addr, if there is one.
func startAdmin(c *config, metrics *prometheus.Registry, log *slog.Logger, down *stack, failed chan<- error) error {
	if c.adminAddr == "" || c.adminAddr == "off" {
		return nil
	}
	l, err := net.Listen("tcp", c.adminAddr)
	if err != nil {
		return fmt.Errorf("--admin-addr: %w; choose another, or 'off'", err)
	}
	s := &http.Server{Handler: adminHandler(metrics, c.pprof), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	down.add(func() { s.Close() })
	log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	return nil
}
