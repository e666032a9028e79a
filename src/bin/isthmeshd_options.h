// SPDX-License-Identifier: Apache-2.0
//
// Options of isthmeshd: the flags and environment of Istio's istiod, as far as they mean something here,
// and a few of our own.
#ifndef BIN_ISTHMESHD_OPTIONS_H
#define BIN_ISTHMESHD_OPTIONS_H

#include "base/error.h"
#include "base/str.h"

struct isthmeshd_options {
    const char *ready_address;      // --httpAddr
    const char *webhook_address;    // --httpsAddr
    const char *plaintext_address;  // --grpcAddr
    const char *secure_address;     // --secureGRPCAddr
    const char *monitoring_address; // --monitoringAddr
    const char *domain;             // --domain
    const char *kubeconfig;         // --kubeconfig; NULL: from inside the pod
    const char *ca_directory;       // --caDirectory
    const char *log_levels;         // --log_output_level
    const char *image;              // --proxyImage or PROXY_IMAGE
    const char *cluster;            // CLUSTER_ID
    const char *pod;                // POD_NAME
    const char *ns;                 // POD_NAMESPACE
    const char *network;            // NETWORK
    const char *mesh_id;            // MESH_ID
    bool log_json;                  // --log_as_json
};

enum options_verdict { OPTIONS_RUN, OPTIONS_EXIT_OK, OPTIONS_EXIT_FAILURE };

// Prints help, version or what is wrong by itself.
enum options_verdict isthmeshd_options_read(int argc, char **argv, struct isthmeshd_options *ret_options);

#endif
