"""ATT&CK techniques as sensors write them: id, name and the tactic that a rule was written for.

Only what the demo's sensors mention; the product takes names and tactics from the ATT&CK package, not from
here. A test holds this table against that package.
"""

from __future__ import annotations

TACTIC_IDS = {
    "Reconnaissance": "TA0043",
    "Initial Access": "TA0001",
    "Execution": "TA0002",
    "Persistence": "TA0003",
    "Defense Evasion": "TA0005",
    "Credential Access": "TA0006",
    "Discovery": "TA0007",
    "Lateral Movement": "TA0008",
    "Collection": "TA0009",
    "Exfiltration": "TA0010",
    "Command and Control": "TA0011",
}

TECHNIQUES = {
    "T1595.001": ("Scanning IP Blocks", "Reconnaissance"),
    "T1595.002": ("Vulnerability Scanning", "Reconnaissance"),
    "T1595.003": ("Wordlist Scanning", "Reconnaissance"),
    "T1594": ("Search Victim-Owned Websites", "Reconnaissance"),
    "T1190": ("Exploit Public-Facing Application", "Initial Access"),
    "T1566.002": ("Spearphishing Link", "Initial Access"),
    "T1078": ("Valid Accounts", "Initial Access"),
    "T1078.002": ("Domain Accounts", "Initial Access"),
    "T1078.004": ("Cloud Accounts", "Initial Access"),
    "T1204.002": ("Malicious File", "Execution"),
    "T1059.001": ("PowerShell", "Execution"),
    "T1059.003": ("Windows Command Shell", "Execution"),
    "T1569.002": ("Service Execution", "Execution"),
    "T1505.003": ("Web Shell", "Persistence"),
    "T1547.001": ("Registry Run Keys / Startup Folder", "Persistence"),
    "T1543.003": ("Windows Service", "Persistence"),
    "T1027.010": ("Command Obfuscation", "Defense Evasion"),
    "T1218.011": ("Rundll32", "Defense Evasion"),
    "T1003.001": ("LSASS Memory", "Credential Access"),
    "T1110": ("Brute Force", "Credential Access"),
    "T1110.001": ("Password Guessing", "Credential Access"),
    "T1558.003": ("Kerberoasting", "Credential Access"),
    "T1621": ("Multi-Factor Authentication Request Generation", "Credential Access"),
    "T1046": ("Network Service Discovery", "Discovery"),
    "T1021.001": ("Remote Desktop Protocol", "Lateral Movement"),
    "T1021.002": ("SMB/Windows Admin Shares", "Lateral Movement"),
    "T1021.006": ("Windows Remote Management", "Lateral Movement"),
    "T1570": ("Lateral Tool Transfer", "Lateral Movement"),
    "T1039": ("Data from Network Shared Drive", "Collection"),
    "T1074.002": ("Remote Data Staging", "Collection"),
    "T1560.001": ("Archive via Utility", "Collection"),
    "T1048.002": ("Exfiltration Over Asymmetric Encrypted Non-C2 Protocol", "Exfiltration"),
    "T1071.001": ("Web Protocols", "Command and Control"),
    "T1071.004": ("DNS", "Command and Control"),
    "T1105": ("Ingress Tool Transfer", "Command and Control"),
    "T1568": ("Dynamic Resolution", "Command and Control"),
    "T1573.002": ("Asymmetric Cryptography", "Command and Control"),
}
