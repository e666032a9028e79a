// SPDX-License-Identifier: Apache-2.0
//
// type: the resource types of xDS that this mesh speaks, in push order: a proxy that receives them in this
// order never sees a reference before what it refers to.
#ifndef XDS_TYPE_H
#define XDS_TYPE_H

#include <protobuf-c/protobuf-c.h>

#include "base/str.h"

enum xds_type {
    XDS_CLUSTER = 0,      // CDS
    XDS_ENDPOINT,         // EDS
    XDS_LISTENER,         // LDS
    XDS_ROUTE,            // RDS
    XDS_SECRET,           // SDS
    XDS_EXTENSION_CONFIG, // ECDS
    XDS_NAME_TABLE,       // NDS, Istio's
    XDS_TYPE_COUNT,
    XDS_TYPE_NONE = XDS_TYPE_COUNT, // a type URL that is not in the table
};

#define XDS_DEBUG_PREFIX "istio.io/debug" // request-response types without state
#define XDS_ADS_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
#define XDS_DELTA_ADS_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

const char *xds_type_url(enum xds_type type);  // "type.googleapis.com/envoy.config.cluster.v3.Cluster"
const char *xds_type_name(enum xds_type type); // "CDS"
enum xds_type xds_type_find(struct str url);   // XDS_TYPE_NONE: unknown
// Clusters, listeners and the name table come whole when no names are asked for.
bool xds_type_is_wildcard(enum xds_type type);
const ProtobufCMessageDescriptor *xds_type_descriptor(enum xds_type type);

#endif
